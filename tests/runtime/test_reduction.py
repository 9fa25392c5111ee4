"""Two gloo processes merge their reports; only rank 0 has a controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.runtime.protocol import Report
from maxent_ray.runtime.service import ControllerService
from tests.runtime.gloo import give_back, join, run_ranks
from tests.runtime.support import ANALYTIC, TRUNCATED, hand_loop, measured, unrolled


def main(rank: int, folder: Path, lag: str) -> None:
    """One rank of the collective, run as a process of its own."""
    from maxent_ray.core.statistics import BatchStatistics
    from maxent_ray.errors import InvalidReportError
    from maxent_ray.runtime import ClientOptions, connect

    join(rank, 2, folder)
    client = connect("run", rank, 2, ANALYTIC, options=ClientOptions(lag=int(lag), reduction="collective"), local=True)
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
    passed = (client.coefficients(7 + int(lag)), client.last_decision)
    client.load_state_dict(checkpoint)
    seen.append(client.coefficients(6))
    counters = client.controller_counters()
    give_back(rank, folder, (seen, checkpoint, passed, counters, own))


@pytest.mark.parametrize("lag", [0, 1])
def test_ranks_agree_and_equal_the_hand_loop(tmp_path: Path, lag: int) -> None:
    results = run_ranks(main, 2, tmp_path, lag)
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


def report_over_a_collective(rank: int, folder: Path, world_size: str) -> None:
    """One rank that counts the reports it sends itself, of statistics and sensitivities."""
    from maxent_ray.runtime import ClientOptions, ControllerClient, ControllerService, LocalTransport
    from maxent_ray.runtime.reduction import CollectiveTransport
    from maxent_ray.runtime.rounds import RoundPolicy

    class Counting(LocalTransport):
        sent = 0

        def submit(self, report: Report) -> Report:
            self.sent += 1
            return super().submit(report)

    ranks = int(world_size)
    join(rank, ranks, folder)
    line = Counting(ControllerService("run", TRUNCATED, 1))
    client = ControllerClient(
        "run", rank, TRUNCATED, CollectiveTransport(rank, ranks, RoundPolicy(), lambda: line), ClientOptions(lag=0)
    )
    for step in range(STEPS):
        client.coefficients(step)
        client.report(step, measured(rank, step), unrolled(rank, step))
    decisions = client.decisions() if client.state_dict() else []
    give_back(rank, folder, (line.sent, decisions))


STEPS = 12


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_collective_sends_one_report_a_step_and_decides_as_the_actor_does(tmp_path: Path, ranks: int) -> None:
    results = run_ranks(report_over_a_collective, ranks, tmp_path, ranks)
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
