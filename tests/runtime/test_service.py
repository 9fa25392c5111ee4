from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import replace

import pytest

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_state import ControllerState, Reason
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.statistics import BatchStatistics, merge, merge_all
from maxent_ray.errors import ConfigError, InvalidReportError
from maxent_ray.runtime.closed_rounds import HISTORY_ROUNDS
from maxent_ray.runtime.outage import pass_over
from maxent_ray.runtime.protocol import Report, StateLoad
from maxent_ray.runtime.rounds import RoundPolicy
from maxent_ray.runtime.service import ControllerService
from tests.runtime.support import ANALYTIC, TRUNCATED, hand_loop, measured, unrolled


def report(rank: int, step: int, **changes: object) -> Report:
    return dataclasses.replace(Report("run", rank, step, measured(rank, step)), **changes)


def run_rounds(service: ControllerService, steps: range) -> None:
    for step, rank in itertools.product(steps, range(service.world_size)):
        service.report(report(rank, step))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_rounds_equal_a_loop_over_controller_step(world_size: int) -> None:
    service = ControllerService("run", ANALYTIC, world_size)
    states = hand_loop(ANALYTIC, range(world_size), 8)
    for step in range(8):
        answers = [service.report(report(rank, step)) for rank in range(world_size)]
        assert answers[:-1] == [None] * (world_size - 1)
        assert answers[-1].coefficients == states[step + 1].coefficients(step)
        assert answers[-1].state == states[step + 1].to_dict()
        assert answers[-1].decision["version"] == step + 1


def test_the_order_of_arrival_does_not_matter_to_the_last_bit() -> None:
    outcomes = set()
    for order in itertools.permutations(range(3)):
        service = ControllerService("run", TRUNCATED, 3)
        for step in range(4):
            for rank in order:
                service.report(report(rank, step, gradients=unrolled(rank, step)))
        outcomes.add((service.state.tau.hex(), service.state.beta.hex(), service.state.version))
    assert len(outcomes) == 1
    assert outcomes != {(TRUNCATED.tau.hex(), TRUNCATED.beta.hex(), 4)}


def test_a_duplicate_changes_nothing_and_gets_the_same_answer() -> None:
    service = ControllerService("run", ANALYTIC, 2)
    assert service.report(report(0, 0)) is None
    assert service.report(report(0, 0, statistics=measured(5, 5))) is None  # even with other numbers
    first = service.report(report(1, 0))
    assert service.state == hand_loop(ANALYTIC, range(2), 1)[-1]
    state = service.state
    assert service.report(report(0, 0)) == first
    assert service.report(report(1, 0)) == first
    assert service.state == state
    assert service.counters()["duplicates"] == 3
    assert service.counters()["late"] == 0


def test_late_reports_get_what_their_round_decided_or_an_error_but_never_something_else() -> None:
    service = ControllerService("run", ANALYTIC, 1)
    states = hand_loop(ANALYTIC, [0], HISTORY_ROUNDS + 2)
    run_rounds(service, range(HISTORY_ROUNDS + 2))
    assert service.report(report(0, 2)).coefficients == states[3].coefficients(2)
    assert service.report(report(0, 1)).coefficients == states[2].coefficients(1)  # by the log
    assert service.state == states[-1]
    restarted = ControllerService("run", ANALYTIC, 1, state=states[-1])  # remembers nothing of it
    message = r"nobody remembers what the round of step 1 came to.*at step 17\. Every rank.* to go on from step 18"
    with pytest.raises(InvalidReportError, match=message):
        restarted.report(report(0, 1))
    assert restarted.state == states[-1]
    assert (service.counters()["late"], restarted.counters()["late"]) == (1, 1)


def test_several_rounds_may_be_open_and_close_in_order_of_step() -> None:
    service = ControllerService("run", ANALYTIC, 2)
    states = hand_loop(ANALYTIC, range(2), 3)
    assert [service.report(report(0, step)) for step in range(3)] == [None] * 3
    assert service.report(report(1, 1)) is None  # complete, but round 0 is not
    assert service.state == states[0]
    assert service.report(report(1, 0)).coefficients == states[1].coefficients(0)
    assert service.answer(1).coefficients == states[2].coefficients(1)
    assert service.answer(2) is None
    assert service.report(report(1, 2)).coefficients == states[3].coefficients(2)


INVALID = {
    "run_id is 'other'": {"run_id": "other"},
    "rank is 2": {"rank": 2},
    "rank is -1": {"rank": -1},
    "step is -3": {"step": -3},
    "rank 0, step 1: statistics.weight_entropy_sum is nan": {
        "statistics": BatchStatistics(weight_entropy_sum=math.nan)
    },
    "statistics.policy_kl_sum is inf": {"statistics": BatchStatistics(policy_kl_sum=math.inf)},
    "statistics.tokens is -4": {"statistics": BatchStatistics(tokens=-4)},
    "step is 9, but step 1 was expected": {"step": 9},
    "controller state.tau is nan": {"state": {**ControllerState(0.1, 0.1).to_dict(), "tau": math.nan}},
    **{
        f"gradients.sensitivity.{name} is {value}": {
            "gradients": dataclasses.replace(
                unrolled(0, 0), sensitivity=dataclasses.replace(unrolled(0, 0).sensitivity, **{name: value})
            )
        }
        for name, value in (
            ("steps", 2),
            ("tokens", 0),
            ("share", 0.0),
            ("share", math.nan),
            ("tau", 0.0),
            ("beta", -0.1),
            ("beta", 0.0),
        )
    },
}


def test_ranks_that_unrolled_from_different_coefficients_leave_their_gradients_out_and_are_counted() -> None:
    """After an outage ranks may differ for a step; the round still closes, with everything else in it."""
    service = ControllerService("run", dataclasses.replace(TRUNCATED, update_interval=1), 2)
    one, two = unrolled(0, 0), unrolled(1, 0)
    other = dataclasses.replace(two, sensitivity=dataclasses.replace(two.sensitivity, tau=0.31))
    assert service.report(report(0, 0, gradients=one)) is None
    answer = service.report(report(1, 0, gradients=other))
    assert answer is not None
    assert answer.decision["reason"] == "no_gradient"
    assert service.counters()["partial_gradients"] == 1


@pytest.mark.parametrize("message", INVALID)
def test_an_invalid_report_is_refused_by_name_and_leaves_no_trace(message: str) -> None:
    service = ControllerService("run", ANALYTIC, 2)
    run_rounds(service, range(1))
    service.report(report(1, 1))
    state = service.state
    with pytest.raises(InvalidReportError, match=message):
        service.report(dataclasses.replace(report(0, 1), **INVALID[message]))
    assert service.state == state
    assert service.counters()["rejected"] == 1
    service.report(report(0, 1))  # the round is as open as before
    assert service.state == hand_loop(ANALYTIC, range(2), 2)[-1]


def test_a_restarted_service_goes_on_from_the_newest_state_that_a_report_carries() -> None:
    whole = ControllerService("run", ANALYTIC, 2)
    run_rounds(whole, range(6))
    states = hand_loop(ANALYTIC, range(2), 10)
    assert whole.state == states[6]
    restarted = ControllerService("run", ANALYTIC, 2)
    # rank 1 missed the answer of round 5 and repeats its report; rank 0 has it
    behind = report(1, 5, state=states[5].to_dict(), answered=(states[5].coefficients(4),))
    assert restarted.report(behind) is None
    ahead = report(0, 6, state=states[6].to_dict(), answered=(states[6].coefficients(5),))
    assert restarted.report(ahead) is None
    assert restarted.answer(5).coefficients == states[6].coefficients(5)
    assert restarted.counters()["adopted"] == 2
    restarted.report(report(1, 6))
    run_rounds(restarted, range(7, 10))
    assert restarted.state == states[10]


def test_a_rank_two_answers_behind_gets_each_round_as_it_was_decided() -> None:
    states = hand_loop(ANALYTIC, range(2), 11)
    restarted = ControllerService("run", ANALYTIC, 2)
    answered = (states[10].coefficients(9), states[11].coefficients(10))
    restarted.report(report(0, 11, state=states[11].to_dict(), answered=answered))
    for step in (9, 10):
        answer = restarted.report(report(1, step, state=states[9].to_dict()))
        assert answer.coefficients == states[step + 1].coefficients(step)
    assert restarted.counters()["late"] == 2


def alone(state: ControllerState, rounds: int) -> ControllerState:
    """What a rank holds that went on without the controller for so many rounds."""
    for _ in range(rounds):
        state, _ = pass_over(state, Reason.STALE)
    return state


def test_what_one_rank_held_does_not_outrank_what_was_decided() -> None:
    """Rank 1 lost the answer of round 3, and its report of round 4: it is two rounds further, and knows less."""
    states = hand_loop(ANALYTIC, range(2), 4)
    service = ControllerService("run", ANALYTIC, 2)
    run_rounds(service, range(4))
    assert service.report(report(0, 4)) is None
    held = alone(states[3], 2)
    assert service.report(report(1, 5, state=held.to_dict(), answered=(held.coefficients(4),))) is None
    answer = service.answer(4)
    assert answer.coefficients == replace(states[4].coefficients(4), version=5)  # as round 3 decided
    assert (answer.decision["reason"], answer.decision["events"]) == ("stale", ("went_on.rank_1",))
    assert service.report(report(0, 5)).coefficients.version == 6  # and from here on both go on together
    passed, _ = pass_over(states[4], Reason.STALE)
    merged = merge(measured(0, 5), measured(1, 5))
    assert service.state == Controller(ANALYTIC).step(passed, merged)[0]
    assert (service.counters()["adopted"], service.counters()["lost_rounds"]) == (0, 1)


def test_a_round_is_waited_for_that_its_rank_has_reported_before_it_went_on() -> None:
    states = hand_loop(ANALYTIC, range(2), 6)
    service = ControllerService("run", ANALYTIC, 2)
    run_rounds(service, range(4))
    service.report(report(1, 4))
    service.report(report(1, 5, state=alone(states[4], 1).to_dict()))
    assert service.report(report(0, 4)).coefficients == states[5].coefficients(4)
    assert service.report(report(0, 5)).coefficients == states[6].coefficients(5)
    assert service.counters()["lost_rounds"] == 0


@pytest.mark.parametrize("held", [1, 2, 3])
@pytest.mark.parametrize("first", [0, 1])
def test_a_restarted_service_takes_the_decided_state_whoever_comes_first(first: int, held: int) -> None:
    """Rank 0 has the answer of round 3; rank 1 lost it, held this and maybe more rounds, and waits for nothing."""
    states = hand_loop(ANALYTIC, range(2), 5)
    restarted = ControllerService("run", ANALYTIC, 2)
    away = alone(states[3], held)
    told = {
        0: report(0, 4, state=states[4].to_dict(), answered=(states[4].coefficients(3),)),
        1: report(1, 3 + held, state=away.to_dict(), answered=(replace(states[3].coefficients(3), version=4),)),
    }
    for rank in (first, 1 - first):
        restarted.report(told[rank])
    assert restarted.answer(3).coefficients.tau == states[4 - first].tau  # as the first of them told it
    expected = alone(states[4], held - 1)
    for step in range(5, 4 + held):
        restarted.report(report(0, step))
    merged = merge(measured(0, 3 + held), measured(1, 3 + held))
    assert restarted.state == Controller(ANALYTIC).step(expected, merged)[0]


def test_all_ranks_that_held_alike_are_done_without_when_another_knows_better() -> None:
    """Ranks 1 and 2 held rounds 3 and 4; the restarted service has taken their state when rank 0 comes."""
    states = hand_loop(ANALYTIC, range(3), 4)
    restarted = ControllerService("run", ANALYTIC, 3)
    away = alone(states[3], 2).to_dict()
    for rank in (1, 2):
        assert restarted.report(report(rank, 5, state=away)) is None
    assert restarted.report(report(0, 4, state=states[4].to_dict())).coefficients.tau == states[3].tau  # as they held
    assert restarted.report(report(0, 5)).coefficients.version == 6
    merged = merge_all(measured(rank, 5) for rank in range(3))
    assert restarted.state == Controller(ANALYTIC).step(alone(states[4], 1), merged)[0]  # round 3 counts


def test_one_service_tells_one_round_one_way() -> None:
    """Rank 0 has been told what round 6 came to; then rank 2 comes, who knows round 5 as it was decided."""
    states = hand_loop(ANALYTIC, range(3), 6)
    restarted = ControllerService("run", ANALYTIC, 3)
    restarted.report(report(0, 6, state=alone(states[5], 1).to_dict()))
    restarted.report(report(1, 7, state=alone(states[5], 2).to_dict()))
    told = restarted.answer(6)
    assert told.coefficients.tau == states[5].tau
    assert restarted.report(report(2, 6, state=states[6].to_dict())) == told
    assert restarted.state == alone(states[6], 1)  # and from the next round on round 5 counts


def test_a_state_from_the_far_future_does_not_keep_the_service_busy() -> None:
    service = ControllerService("run", ANALYTIC, 2)
    far = 10**9
    held = replace(service.state, step=far - 1, version=far, reasons={"stale": far})
    service.report(report(0, far, state=held.to_dict()))
    known = hand_loop(ANALYTIC, range(2), 1)[-1]
    with pytest.raises(InvalidReportError, match="nobody remembers what the round of step 1 came to"):
        service.report(report(1, 1, state=known.to_dict()))
    assert (service.state.tau, service.state.step) == (known.tau, far - 1)


def test_under_a_quorum_ranks_that_held_count_as_living() -> None:
    """Two of four are dead; one held round 4, so one report of it is all there will be: nobody waits for more."""
    states = hand_loop(ANALYTIC, range(4), 4)
    service = ControllerService("run", ANALYTIC, 4, policy=RoundPolicy("quorum"))
    run_rounds(service, range(4))
    service.report(report(3, 4))
    service.report(report(2, 5, state=alone(states[4], 1).to_dict()))
    answer = service.time_out(4)
    assert (answer.coefficients.tau, answer.decision["events"]) == (states[4].tau, ("went_on.rank_2",))
    assert service.report(report(3, 5)).decision["events"][-2:] == ("without.rank_0", "without.rank_1")


@pytest.mark.parametrize("first", [0, 1])
def test_a_rank_that_is_behind_one_that_held_gets_what_that_held(first: int) -> None:
    """Both know round 3; rank 1 held 4 to 6 while rank 0 was at step 4, and the service restarts."""
    states = hand_loop(ANALYTIC, range(2), 4)
    restarted = ControllerService("run", ANALYTIC, 2)
    away = alone(states[4], 3)
    outcomes = tuple(replace(away.coefficients(step), version=step + 1) for step in range(2, 7))
    told = {
        0: report(0, 4, state=states[4].to_dict(), answered=(states[4].coefficients(3),)),
        1: report(1, 7, state=away.to_dict(), answered=outcomes),
    }
    answers = {rank: restarted.report(told[rank]) for rank in (first, 1 - first)}
    known = restarted.answer(4) if answers[0] is None else answers[0]
    assert known.coefficients == replace(states[4].coefficients(4), version=5)


def test_under_a_quorum_a_rank_that_held_is_not_taken_for_absent() -> None:
    states = hand_loop(ANALYTIC, range(4), 4)
    service = ControllerService("run", ANALYTIC, 4, policy=RoundPolicy("quorum"))
    run_rounds(service, range(4))
    for rank in (0, 3):
        service.report(report(rank, 4))
    service.report(report(1, 5, state=alone(states[4], 1).to_dict()))
    service.time_out(4)  # rank 2 hangs
    for rank in (0, 3):
        service.report(report(rank, 5))
        service.report(report(rank, 6))
    assert service.answer(5) is not None
    assert service.answer(6) is None  # rank 1 is on its way
    service.report(report(1, 6))
    assert service.answer(6).decision["events"][-1] == "without.rank_2"


def test_a_long_time_alone_costs_no_decided_round_and_cannot_stop_the_service() -> None:
    states = hand_loop(ANALYTIC, range(2), 4)
    service = ControllerService("run", ANALYTIC, 2)
    run_rounds(service, range(4))
    away = alone(states[4], 50)
    service.report(report(1, 54, state=away.to_dict()))
    for step in range(4, 54):  # rank 0 comes after: nothing was decided, and nothing is unknown
        assert service.report(report(0, step)).coefficients.tau == states[4].tau
    service.report(report(0, 54))
    assert service.state == Controller(ANALYTIC).step(away, merge(measured(0, 54), measured(1, 54)))[0]
    endless = replace(away, step=10**9, version=10**9, reasons={"stale": 10**9})
    with pytest.raises(InvalidReportError, match=r"step 1000000001: state\.step is 1000000000, 999999946 rounds that"):
        service.report(report(1, 10**9 + 1, state=endless.to_dict()))


def test_under_a_quorum_a_rank_that_went_on_is_done_without() -> None:
    states = hand_loop(ANALYTIC, range(3), 4)
    service = ControllerService("run", ANALYTIC, 3, policy=RoundPolicy("quorum"))
    run_rounds(service, range(4))
    for rank in (0, 1):
        service.report(report(rank, 4))
    service.report(report(2, 5, state=alone(states[4], 1).to_dict()))
    answer = service.answer(4)  # at once: nobody waits for what will not come
    assert (answer.decision["reason"], answer.decision["events"]) == ("updated", ("without.rank_2",))


def test_an_older_state_is_ignored() -> None:
    service = ControllerService("run", ANALYTIC, 1)
    run_rounds(service, range(4))
    service.report(report(0, 4, state=ControllerState(9.0, 9.0, version=3, step=2).to_dict()))
    assert service.state == hand_loop(ANALYTIC, [0], 5)[-1]
    assert service.counters()["adopted"] == 0


def test_every_rank_may_load_the_same_state_at_its_own_time() -> None:
    states = hand_loop(ANALYTIC, range(2), 8)
    service = ControllerService("run", ANALYTIC, 2)
    run_rounds(service, range(2))
    loads = [StateLoad(rank, states[7].to_dict(), (states[7].coefficients(6),)) for rank in range(2)]
    assert service.load_state(loads[0]) == 1
    service.report(report(0, 7, generation=1))
    assert service.load_state(loads[1]) == 1  # keeps rank 0's report
    assert service.report(report(1, 7, generation=1)).coefficients == states[8].coefficients(7)
    assert service.answer(6).coefficients == states[7].coefficients(6)


def test_a_second_load_by_the_same_rank_drops_the_open_round() -> None:
    states = hand_loop(ANALYTIC, range(2), 3)
    service = ControllerService("run", ANALYTIC, 2)
    for generation in (1, 2):
        for rank in range(2):
            assert service.load_state(StateLoad(rank, states[2].to_dict())) == generation
        assert service.report(report(1, 2, generation=generation)) is None
    assert service.load_state(StateLoad(0, states[2].to_dict(), generation=2)) == 3
    assert service.report(report(0, 2, generation=3)) is None


def test_a_load_that_is_sent_again_is_no_second_one() -> None:
    """Its answer was lost on the way; a rank that has loaded in between must not be thrown out."""
    state = hand_loop(ANALYTIC, range(2), 2)[-1].to_dict()
    service = ControllerService("run", ANALYTIC, 2)
    loads = [StateLoad(rank, state, token=f"token-{rank}") for rank in range(2)]
    assert [service.load_state(load) for load in (*loads, loads[0])] == [1, 1, 1]
    service.report(report(1, 2, generation=1))
    assert service.load_state(loads[0]) == 1  # even then
    assert service.report(report(0, 2, generation=1)) is not None
    assert service.load_state(StateLoad(0, state, token="another")) == 2


def test_a_slow_rank_joins_a_load_after_its_round_was_decided() -> None:
    states = hand_loop(ANALYTIC, [0], 2)
    service = ControllerService("run", ANALYTIC, 2, policy=RoundPolicy("quorum"))
    assert service.load_state(StateLoad(0, states[1].to_dict(), token="a")) == 1
    service.report(report(0, 1, generation=1))
    service.time_out(1)
    assert service.load_state(StateLoad(1, states[1].to_dict(), token="b")) == 1
    assert service.state == states[2]


def test_a_report_that_a_load_overtook_is_refused() -> None:
    states = hand_loop(ANALYTIC, range(2), 1)
    service = ControllerService("run", ANALYTIC, 2)
    service.load_state(StateLoad(0, states[0].to_dict()))
    with pytest.raises(InvalidReportError, match="another state was loaded since"):
        service.report(report(0, 0, statistics=measured(9, 9)))
    for rank in range(2):
        service.report(report(rank, 0, generation=1))
    assert service.state == states[1]


def test_a_restarted_service_takes_over_the_generation() -> None:
    states = hand_loop(ANALYTIC, range(2), 1)
    service = ControllerService("run", ANALYTIC, 2)
    service.report(report(0, 0, statistics=measured(9, 9)))  # sent before the last load, arrived after the restart
    service.report(report(0, 0, generation=3))
    service.report(report(1, 0, generation=3))
    assert service.state == states[1]
    assert service.load_state(StateLoad(0, states[0].to_dict(), generation=3)) == 4


def test_a_crash_between_two_ranks_loads_throws_neither_out() -> None:
    """Rank 0 loads and the service dies; rank 0 reports to the new one before rank 1 has loaded."""
    states = hand_loop(ANALYTIC, range(2), 4)
    loaded = states[3].to_dict()
    assert ControllerService("run", ANALYTIC, 2, generation=6).load_state(StateLoad(0, loaded, generation=6)) == 7
    restarted = ControllerService("run", ANALYTIC, 2)
    assert restarted.report(report(0, 3, generation=7, state=loaded)) is None
    assert restarted.load_state(StateLoad(1, loaded, generation=6, token="b")) == 7
    assert restarted.report(report(1, 3, generation=7)).coefficients == states[4].coefficients(3)
    assert restarted.load_state(StateLoad(0, loaded, generation=7, token="a")) == 8  # a load of its own


def test_a_load_that_a_restarted_service_hears_of_voids_what_it_knew() -> None:
    """The restarted one adopts a state of before the load first, with more rounds decided than the loaded one."""
    states = hand_loop(ANALYTIC, range(2), 9)
    restarted = ControllerService("run", ANALYTIC, 2)
    for rank in range(2):
        restarted.report(report(rank, 8, state=states[8].to_dict()))
    assert restarted.state == states[9]
    for rank in range(2):
        restarted.report(report(rank, 3, generation=1, state=states[3].to_dict()))
    assert restarted.state == states[4]
    assert [decision["step"] for decision in restarted.decisions()] == [3]


def test_a_crash_between_two_ranks_loads_does_not_fail_every_attempt_after_it() -> None:
    """Rank 0's load went down with the former service; the new one knows of rank 1's alone."""
    states = hand_loop(ANALYTIC, range(2), 6)
    restarted = ControllerService("run", ANALYTIC, 2)
    loaded = states[3].to_dict()
    assert restarted.load_state(StateLoad(1, loaded, generation=6, token="b")) == 7
    for step, rank in itertools.product(range(3, 6), range(2)):
        restarted.report(report(rank, step, generation=7))
    assert restarted.state == states[6]
    for attempt in (8, 9):  # its ranks connect, then load, rank 0 first
        loads = [StateLoad(rank, loaded, generation=attempt - 1, token=f"{attempt}-{rank}") for rank in range(2)]
        assert [restarted.load_state(load) for load in loads] == [attempt] * 2
        assert restarted.state == states[3]


def test_after_a_restart_every_new_attempt_rolls_back() -> None:
    """The rank that reported first was not the one that loads first; no attempt may meet where the last one was."""
    states = hand_loop(ANALYTIC, range(2), 3)
    restarted = ControllerService("run", ANALYTIC, 2)
    for rank, step in itertools.product((1, 0), range(3)):
        restarted.report(report(rank, step, generation=1, state=states[0].to_dict()))
    assert restarted.state == states[3]
    for generation in (2, 3, 4):
        known = {"generation": generation - 1, "token": f"attempt {generation}"}
        loads = [StateLoad(rank, states[0].to_dict(), **known) for rank in range(2)]
        assert [restarted.load_state(load) for load in loads] == [generation] * 2
        assert restarted.state == states[0]
        for step, rank in itertools.product(range(3), range(2)):
            restarted.report(report(rank, step, generation=generation))
        assert restarted.state == states[3]


def test_gradients_are_a_token_weighted_mean_over_all_ranks() -> None:
    service = ControllerService("run", TRUNCATED, 2)
    tokens = [measured(rank, 0).tokens for rank in range(2)]
    for step in range(2):
        for rank in range(2):
            service.report(report(rank, step, gradients=ControllerGradients(0.2 + rank, -0.1, source="mine")))
    tokens = [measured(rank, 1).tokens for rank in range(2)]
    decision = service.decisions(since_version=1)[0]
    assert decision["tau_grad"] == pytest.approx((0.2 * tokens[0] + 1.2 * tokens[1]) / sum(tokens), rel=1e-14)
    assert decision["beta_grad"] == pytest.approx(-0.1, rel=1e-14)
    assert decision["source"] == "mine"


def test_gradients_of_some_ranks_only_are_left_out_and_counted() -> None:
    service = ControllerService("run", TRUNCATED, 2)
    for step in range(2):
        service.report(report(0, step, gradients=unrolled(0, step)))
        service.report(report(1, step))
    assert service.state.tau == TRUNCATED.tau
    assert service.counters()["partial_gradients"] == 2
    assert service.counters()["reasons"] == {"interval": 1, "no_gradient": 1}


def test_sensitivities_merge_as_the_controller_would_merge_them() -> None:
    service = ControllerService("run", TRUNCATED, 2)
    for step, rank in itertools.product(range(2), range(2)):
        service.report(report(rank, step, gradients=unrolled(rank, step)))
    shards = [unrolled(rank, 1).sensitivity for rank in range(2)]
    tokens = sum(shard.tokens for shard in shards)
    mean = {
        name: sum(getattr(shard, name) * shard.tokens for shard in shards) / tokens
        for name in ("entropy", "kl", "entropy_tau", "entropy_beta", "kl_tau", "kl_beta")
    }
    controller = Controller(TRUNCATED)
    state, _ = controller.step(controller.init(), merge(measured(0, 0), measured(1, 0)))
    merged = dataclasses.replace(shards[0], **mean, tokens=tokens)
    state, decision = controller.step(
        state, merge(measured(0, 1), measured(1, 1)), ControllerGradients(sensitivity=merged)
    )
    assert service.state.tau == pytest.approx(state.tau, rel=1e-14)
    assert service.state.beta == pytest.approx(state.beta, rel=1e-14)
    assert decision.tau != decision.previous_tau


def test_decisions_are_logged_with_their_reasons() -> None:
    service = ControllerService("run", ANALYTIC, 1)
    run_rounds(service, range(5))
    assert [entry["version"] for entry in service.decisions(since_version=2)] == [3, 4, 5]
    assert sum(service.counters()["reasons"].values()) == 5


def test_going_back_to_a_state_takes_back_the_decisions_after_it() -> None:
    service = ControllerService("run", ANALYTIC, 1)
    run_rounds(service, range(5))
    first = service.decisions()
    service.load_state(StateLoad(0, hand_loop(ANALYTIC, [0], 2)[-1].to_dict()))
    for step in range(2, 5):
        service.report(report(0, step, generation=1))
    assert service.decisions() == first


def test_a_world_without_ranks_is_refused() -> None:
    with pytest.raises(ConfigError, match="world_size is 0"):
        ControllerService("run", ANALYTIC, 0)
