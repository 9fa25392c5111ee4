"""Three gloo processes, each with its own way to one service; the lines of some are cut, and all still agree."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.support import ANALYTIC, hand_loop, measured

ROOT = Path(__file__).resolve().parents[2]
RANKS, STEPS = 3, 6


def main(rank: int, folder: Path, kind: str, cut: list[int]) -> None:
    """One rank, with a controller of its own that gets the same reports: three copies of one truth.

    What differs is which ranks reach theirs: those in ``cut`` cannot in steps 2 and 3.
    """
    import torch.distributed as dist

    from maxent_ray.errors import ControllerUnavailableError
    from maxent_ray.runtime import ClientOptions, ControllerClient, ControllerService, LocalTransport
    from maxent_ray.runtime.agreement import RankAgreement

    class CutLine(LocalTransport):
        down = False

        def submit(self, report: Any) -> Any:
            if self.down:
                raise ControllerUnavailableError("the line is cut")
            for other in range(RANKS):  # the other ranks' reports arrive over lines of their own
                answer = self._service.report(
                    type(report)("run", other, report.step, measured(other, report.step), state=report.state)
                )
            assert answer is not None
            return report

    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    line = CutLine(ControllerService("run", ANALYTIC, RANKS))
    options = ClientOptions(lag=0, retries=0, when_unreachable=kind)
    client = ControllerClient("run", rank, ANALYTIC, line, options, RankAgreement(rank, RANKS))
    seen = []
    for step in range(STEPS):
        seen.append(client.coefficients(step))
        line.down = rank in cut and step in (2, 3)
        client.report(step, measured(rank, step))
    decisions = [decision["reason"] for decision in client.decisions()]
    result = ([asdict(entry) for entry in seen], client.counters(), decisions)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(result))
    dist.barrier()
    dist.destroy_process_group()


def run(tmp_path: Path, kind: str, cut: list[int]) -> list[Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    call = "import sys; from pathlib import Path; from tests.runtime.test_agreement import main; "
    call += "main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], [int(rank) for rank in sys.argv[4:]])"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", call, str(rank), str(tmp_path), kind, *map(str, cut)], env=environment
        )
        for rank in range(RANKS)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0] * RANKS
    return [pickle.loads((tmp_path / f"{rank}.pickle").read_bytes()) for rank in range(RANKS)]


@pytest.mark.parametrize("kind", ["hold", "local"])
def test_an_outage_of_one_rank_does_not_part_it_from_the_others(tmp_path: Path, kind: str) -> None:
    results = run(tmp_path, kind, cut=[0])
    states = hand_loop(ANALYTIC, range(RANKS), STEPS)
    truth = [asdict(states[step].coefficients(step)) for step in range(STEPS)]
    assert [seen for seen, _, _ in results] == [truth] * RANKS  # the controller's word counts, not rank 0's
    counters = results[0][1]
    assert counters["corrected_steps"] == 2
    assert counters["held_steps" if kind == "hold" else "local_steps"] == 2
    assert "stale" not in results[0][2]  # its log says what was trained with
    assert [result[1]["corrected_steps"] for result in results[1:]] == [0, 0]


def test_ranks_that_all_decide_alone_follow_the_lowest(tmp_path: Path) -> None:
    results = run(tmp_path, "local", cut=[0, 1, 2])
    assert results[0][0] == results[1][0] == results[2][0]
    assert [result[1]["corrected_steps"] for result in results] == [0, 2, 2]
