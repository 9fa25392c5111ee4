"""Two gloo processes merge their reports; only rank 0 has a controller."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.runtime.protocol import Report
from maxent_ray.runtime.service import ControllerService
from tests.runtime.support import ANALYTIC, TRUNCATED, hand_loop, measured, unrolled

ROOT = Path(__file__).resolve().parents[2]


def main(rank: int, folder: Path, lag: int) -> None:
    """One rank of the collective, run as a process of its own."""
    import torch.distributed as dist

    from maxent_ray.core.statistics import BatchStatistics
    from maxent_ray.errors import InvalidReportError
    from maxent_ray.runtime import ClientOptions, connect

    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    client = connect("run", rank, 2, ANALYTIC, options=ClientOptions(lag=lag, reduction="collective"), local=True)
    seen: list[Any] = []
    for step in range(6):
        seen.append(client.coefficients(step))
        client.report(step, measured(rank, step), ControllerGradients(0.1) if rank else None)
    checkpoint = client.state_dict()
    own = ""
    try:
        client.report(6, BatchStatistics(reward_sum=float("nan") if rank == 1 else 0.0))
    except InvalidReportError as error:
        own = str(error)
    passed = (client.coefficients(7 + lag), client.last_decision)
    client.load_state_dict(checkpoint)
    seen.append(client.coefficients(6))
    counters = client.controller_counters()
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps((seen, checkpoint, passed, counters, own)))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("lag", [0, 1])
def test_ranks_agree_and_equal_the_hand_loop(tmp_path: Path, lag: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    call = "import sys; from pathlib import Path; from tests.runtime.test_reduction import main; "
    call += "main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))"
    processes = [
        subprocess.Popen([sys.executable, "-c", call, str(rank), str(tmp_path), str(lag)], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    results = [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(2)]
    *first, _ = results[0]
    *second, refused = results[1]
    assert first == second
    seen, checkpoint, (unmoved, decision), counters = first
    states = hand_loop(ANALYTIC, range(2), 6)
    assert seen == [states[max(step - lag, 0)].coefficients(step) for step in range(7)]
    assert checkpoint["state"] == states[6].to_dict()
    assert "rank 1, step 6: statistics.reward_sum is nan" in refused
    assert (unmoved.tau, unmoved.beta) == (states[6].tau, states[6].beta)
    assert decision["reason"] == "non_finite"
    assert refused in decision["events"]
    assert counters["partial_gradients"] == 6


def report_over_a_collective(rank: int, folder: Path, ranks: int) -> None:
    """One rank that counts the reports it sends itself, of statistics and sensitivities."""
    import torch.distributed as dist

    from maxent_ray.runtime import ClientOptions, ControllerClient, ControllerService, LocalTransport
    from maxent_ray.runtime.reduction import CollectiveTransport
    from maxent_ray.runtime.rounds import RoundPolicy

    class Counting(LocalTransport):
        sent = 0

        def submit(self, report: Report) -> Report:
            self.sent += 1
            return super().submit(report)

    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=ranks)
    line = Counting(ControllerService("run", TRUNCATED, 1))
    client = ControllerClient(
        "run", rank, TRUNCATED, CollectiveTransport(rank, ranks, RoundPolicy(), lambda: line), ClientOptions(lag=0)
    )
    for step in range(STEPS):
        client.coefficients(step)
        client.report(step, measured(rank, step), unrolled(rank, step))
    decisions = client.decisions() if client.state_dict() else []
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps((line.sent, decisions)))
    dist.barrier()
    dist.destroy_process_group()


STEPS = 12


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_collective_sends_one_report_a_step_and_decides_as_the_actor_does(tmp_path: Path, ranks: int) -> None:
    call = "import sys; from pathlib import Path; from tests.runtime.test_reduction import report_over_a_collective; "
    call += "report_over_a_collective(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-c", call, str(rank), str(tmp_path), str(ranks)], env=environment)
        for rank in range(ranks)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * ranks
    results = [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(ranks)]
    assert [sent for sent, _ in results] == [STEPS] + [0] * (ranks - 1)  # whatever the world size
    service = ControllerService("run", TRUNCATED, ranks)
    for step in range(STEPS):
        for rank in range(ranks):
            service.report(Report("run", rank, step, measured(rank, step), unrolled(rank, step)))
    by_actor = service.decisions()
    assert any(decision["tau"] != decision["previous_tau"] for decision in by_actor)
    for _, by_collective in results:
        assert len(by_collective) == len(by_actor) == STEPS
        for ours, theirs in zip(by_collective, by_actor, strict=True):
            for name in ("tau", "beta", "entropy", "kl"):
                assert ours[name] == pytest.approx(theirs[name], rel=1e-12)
            assert ours["reason"] == theirs["reason"]
