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
from tests.runtime.support import ANALYTIC, hand_loop, measured

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
