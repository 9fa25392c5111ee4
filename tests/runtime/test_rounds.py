"""Rounds that ranks are missing from: what is decided, for whom, and what is counted."""

from __future__ import annotations

import dataclasses
import math

import pytest

from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import ConfigError, InvalidReportError, RoundTimeoutError
from maxent_ray.runtime.protocol import Report, StateLoad
from maxent_ray.runtime.rounds import OpenRounds, RoundPolicy
from maxent_ray.runtime.service import ControllerService
from tests.runtime.support import ANALYTIC, hand_loop, measured

HALF = RoundPolicy("quorum", timeout_s=1.0, quorum_fraction=0.5)


def report(rank: int, step: int, **changes: object) -> Report:
    return dataclasses.replace(Report("run", rank, step, measured(rank, step)), **changes)


def service(ranks: int, policy: RoundPolicy = RoundPolicy()) -> ControllerService:
    return ControllerService("run", ANALYTIC, ranks, policy=policy)


def test_a_round_without_a_rank_waits_and_names_it() -> None:
    four = service(4)
    for rank in (0, 3):
        assert four.report(report(rank, 0)) is None
    with pytest.raises(RoundTimeoutError, match=r"no report from ranks 1, 2 of 4 in 600 s, and the policy needs all"):
        four.time_out(0)
    assert four.state == hand_loop(ANALYTIC, [], 0)[0]
    for rank in (1, 2):  # they were only slow
        four.report(report(rank, 0))
    assert four.state == hand_loop(ANALYTIC, range(4), 1)[-1]
    assert four.counters()["round_timeouts"] == 1


def test_a_later_round_names_what_it_waits_for() -> None:
    two = service(2)
    two.report(report(0, 0))
    two.report(report(0, 1))
    with pytest.raises(RoundTimeoutError, match=r"round 1 waits for round 0: no report from rank 1 of 2"):
        two.time_out(1)


def test_a_quorum_decides_on_the_ranks_that_are_there() -> None:
    four = service(4, HALF)
    for rank in (0, 1, 3):
        assert four.report(report(rank, 0)) is None
    answer = four.time_out(0)
    assert four.state == hand_loop(ANALYTIC, [0, 1, 3], 1)[-1]
    assert answer.decision is not None
    assert "without.rank_2" in answer.decision["events"]
    assert four.counters()["quorum_rounds"] == 1
    # the next round waits for it no more
    for rank in (0, 1):
        assert four.report(report(rank, 1)) is None
    assert four.report(report(3, 1)) is not None
    assert four.state == hand_loop(ANALYTIC, [0, 1, 3], 2)[-1]


def test_a_rank_that_comes_back_gets_what_the_others_had_and_is_waited_for_again() -> None:
    three = service(3, HALF)
    for rank in (0, 2):
        three.report(report(rank, 0))
    decided = three.time_out(0)
    state = three.state
    assert three.report(report(1, 0)) == decided  # late: ignored, and answered like everyone
    assert three.state == state
    assert (three.counters()["late"], three.counters()["duplicates"]) == (1, 0)
    for rank in (0, 2):
        assert three.report(report(rank, 1)) is None
    assert three.report(report(1, 1)) is not None
    assert three.state == Controller(ANALYTIC).step(state, _merged((0, 1, 2), 1))[0]


def test_too_few_ranks_are_no_quorum() -> None:
    four = service(4, RoundPolicy("quorum", quorum_fraction=0.75))
    for rank in (0, 1):
        four.report(report(rank, 0))
    with pytest.raises(RoundTimeoutError, match=r"ranks 2, 3 of 4 .* the policy needs 3 of 4"):
        four.time_out(0)
    assert four.state.version == 0


@pytest.mark.parametrize("poisoned_comes", ["first", "last"])
def test_one_poisoned_rank_of_four_moves_nothing(poisoned_comes: str) -> None:
    four = service(4)
    for rank in range(4):
        four.report(report(rank, 0))
    before = four.state
    void = report(2, 1, statistics=BatchStatistics(), void="rank 2, step 1: statistics.reward_sum is nan")
    order = [void, *(report(rank, 1) for rank in (0, 1, 3))]
    answers = [four.report(entry) for entry in (order if poisoned_comes == "first" else order[::-1])]
    decision = answers[-1].decision
    assert (decision["reason"], decision["events"]) == ("non_finite", (void.void,))
    assert dataclasses.replace(four.state, step=0, version=1, reasons=before.reasons) == before
    assert four.counters()["void_rounds"] == 1


def test_the_reasons_of_many_poisoned_ranks_stay_short() -> None:
    many = service(64)
    reason = "rank 11, step 0: gradients.sensitivity.entropy_tau is nan; it must be a finite number"
    for rank in range(64):
        answer = many.report(report(rank, 0, statistics=BatchStatistics(), void=reason))
    assert answer is not None and answer.decision is not None
    (said,) = answer.decision["events"]
    assert said == f"{reason}; {reason}; {reason} and of 61 ranks more"


def test_a_quorum_does_without_a_poisoned_rank() -> None:
    four = service(4, HALF)
    for rank in range(4):
        void = {"statistics": BatchStatistics(), "void": "nan"} if rank == 2 else {}
        four.report(report(rank, 0, **void))
    assert four.state == hand_loop(ANALYTIC, [0, 1, 3], 1)[-1]


def test_another_world_size_after_a_load_is_accepted() -> None:
    states = hand_loop(ANALYTIC, range(3), 2)
    grown = service(2)
    for rank in range(2):
        grown.report(report(rank, 0, world_size=2))
    for rank in range(3):
        load = StateLoad(rank, states[1].to_dict(), generation=0, world_size=3)
        assert grown.load_state(load) == 1
    for rank in range(3):
        grown.report(report(rank, 1, generation=1, world_size=3))
    assert grown.state == states[2]


def test_a_restarted_controller_learns_the_world_size_from_a_report() -> None:
    states = hand_loop(ANALYTIC, range(3), 2)
    restarted = service(2)  # what it was created with
    for rank in range(3):
        known = {"generation": 4, "world_size": 3, "state": states[1].to_dict()}
        restarted.report(report(rank, 1, **known))
    assert restarted.state == states[2]


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_an_inconsistent_world_size_is_rejected(rank: int) -> None:
    two = service(2)
    with pytest.raises(InvalidReportError, match="world_size is 3; this controller gathers 2 reports a round"):
        two.report(report(rank, 0, world_size=3))
    assert two.counters()["rejected"] == 1
    for sane in range(2):
        two.report(report(sane, 0, world_size=2))
    assert two.state == hand_loop(ANALYTIC, range(2), 1)[-1]


def test_ranks_that_load_for_different_world_sizes_cannot_both_report() -> None:
    state = hand_loop(ANALYTIC, [], 0)[0].to_dict()
    torn = service(2)
    generations = [torn.load_state(StateLoad(rank, state, world_size=size)) for rank, size in ((0, 2), (1, 3))]
    with pytest.raises(InvalidReportError, match="world_size is 2; this controller gathers 3"):
        torn.report(report(0, 0, generation=generations[0], world_size=2))


def test_a_load_by_a_rank_outside_its_own_world_changes_nothing() -> None:
    two = service(2)
    with pytest.raises(InvalidReportError, match="rank is 2"):
        two.load_state(StateLoad(2, two.state.to_dict(), world_size=2))
    assert (two.generation, two.world_size) == (0, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "vote"}, "round_policy is 'vote'; valid: wait, quorum"),
        ({"timeout_s": 0.0}, "round_timeout_s is 0.0"),
        ({"timeout_s": math.nan}, "round_timeout_s is nan"),
        ({"quorum_fraction": 0.0}, r"quorum_fraction is 0.0; it must be in \(0, 1\]"),
        ({"quorum_fraction": 1.5}, "quorum_fraction is 1.5"),
    ],
)
def test_policies_are_checked_at_the_door(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RoundPolicy(**settings)


def test_a_fraction_of_the_ranks_is_rounded_up_but_not_past_itself() -> None:
    policies = [RoundPolicy("quorum", quorum_fraction=share) for share in (0.5, 0.7, 0.01, 1.0)]
    assert [policy.needed(10) for policy in policies] == [5, 7, 1, 10]
    assert [policy.needed(3) for policy in policies] == [2, 3, 1, 3]


def test_waiting_never_does_without_a_rank() -> None:
    rounds = OpenRounds(2, RoundPolicy())
    rounds.add(report(0, 0))
    assert not rounds.do_without_missing(0)
    assert rounds.missing(0) == [1]


def _merged(ranks: tuple[int, ...], step: int) -> BatchStatistics:
    from maxent_ray.core.statistics import merge_all

    return merge_all(measured(rank, step) for rank in ranks)
