"""Three gloo processes, each with its own way to one service; the lines of some are cut, and all still agree."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.gloo import give_back, join, run_ranks
from tests.runtime.support import ANALYTIC, hand_loop, measured

RANKS, STEPS = 3, 6


def main(rank: int, folder: Path, kind: str, *cut: str) -> None:
    """One rank, with a controller of its own that gets the same reports: three copies of one truth.

    What differs is which ranks reach theirs: those in ``cut`` cannot in steps 2 and 3.
    """
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

    join(rank, RANKS, folder)
    line = CutLine(ControllerService("run", ANALYTIC, RANKS))
    options = ClientOptions(lag=0, retries=0, when_unreachable=kind)
    client = ControllerClient("run", rank, ANALYTIC, line, options, RankAgreement(rank, RANKS))
    seen = []
    for step in range(STEPS):
        seen.append(client.coefficients(step))
        line.down = str(rank) in cut and step in (2, 3)
        client.report(step, measured(rank, step))
    decisions = [decision["reason"] for decision in client.decisions()]
    give_back(rank, folder, ([asdict(entry) for entry in seen], client.counters(), decisions))


@pytest.mark.parametrize("kind", ["hold", "local"])
def test_an_outage_of_one_rank_does_not_part_it_from_the_others(tmp_path: Path, kind: str) -> None:
    results = run_ranks(main, RANKS, tmp_path, kind, 0)
    states = hand_loop(ANALYTIC, range(RANKS), STEPS)
    truth = [asdict(states[step].coefficients(step)) for step in range(STEPS)]
    assert [seen for seen, _, _ in results] == [truth] * RANKS  # the controller's word counts, not rank 0's
    counters = results[0][1]
    assert counters["corrected_steps"] == 2
    assert counters["held_steps" if kind == "hold" else "local_steps"] == 2
    assert "stale" not in results[0][2]  # its log says what was trained with
    assert [result[1]["corrected_steps"] for result in results[1:]] == [0, 0]


def test_ranks_that_all_decide_alone_follow_the_lowest(tmp_path: Path) -> None:
    results = run_ranks(main, RANKS, tmp_path, "local", 0, 1, 2)
    assert results[0][0] == results[1][0] == results[2][0]
    assert [result[1]["corrected_steps"] for result in results] == [0, 2, 2]
