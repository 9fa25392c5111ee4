"""What ranks are told, save and load: always what a bare loop over ``Controller.step`` comes to. Ranks are threads."""

from __future__ import annotations

import json
import logging
import math
import re
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import ConfigError, ControllerError, ControllerUnavailableError, InvalidReportError
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.connect import connect
from maxent_ray.runtime.deciders import LocalDecider
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.reply import Reply
from tests.runtime.support import (
    ANALYTIC,
    TRUNCATED,
    expected,
    hand_loop,
    measured,
    on_all,
    thread_clients,
    train,
    unrolled,
)


def alone(config: ControllerConfig = ANALYTIC, lag: int = 1) -> ControllerClient:
    return connect("run", 0, 1, config, options=ClientOptions(lag=lag), local=True)


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("ranks", [1, 3])
def test_every_step_of_every_rank_trains_with_the_bare_loops_coefficients(ranks: int, lag: int) -> None:
    seen = on_all(thread_clients(ranks, lag=lag), lambda client: train(client, range(20)))
    assert seen == [expected(ranks, 20, lag)] * ranks


def test_ranks_that_compute_in_numpy_train_with_the_same_coefficients() -> None:
    """Steps and sums are numpy's, as where a trainer counts in arrays."""
    shards = [
        BatchStatistics(**{n: np.float64(v) for n, v in vars(measured(rank, 3)).items() if v is not None})
        for rank in range(2)
    ]

    def take(client: ControllerClient) -> list[Any]:
        for step in np.arange(4):
            client.coefficients(step)
            client.report(step, shards[client.rank])
        return [client.coefficients(np.float64(4)), json.dumps(client.state_dict())]

    def usual(client: ControllerClient) -> list[Any]:
        for step in range(4):
            client.coefficients(step)
            client.report(step, measured(client.rank, 3))
        return [client.coefficients(4), json.dumps(client.state_dict())]

    assert on_all(thread_clients(2), take) == on_all(thread_clients(2), usual)
    with pytest.raises(InvalidReportError, match=r"^rank 0: step is 4.5; it must be a whole number$"):
        thread_clients(1)[0].coefficients(4.5)  # type: ignore[arg-type]


def test_options_of_any_library_are_those_of_python() -> None:
    given = ClientOptions(lag=np.float64(0), timeout_s=np.int64(5), round_timeout_s=np.float32(60))  # type: ignore[arg-type]
    assert repr(given) == repr(ClientOptions(lag=0, timeout_s=5, round_timeout_s=60.0))
    with pytest.raises(ConfigError, match=r"^timeout_s is '5'; it must be finite"):
        ClientOptions(timeout_s="5")  # type: ignore[arg-type]


def test_gradients_of_all_ranks_reach_the_controller() -> None:
    """Weighted over ranks, H by groups and KL by tokens, as the bare loop does it by hand."""

    def take(client: ControllerClient) -> list[float]:
        for step in range(6):
            client.coefficients(step)
            client.report(step, measured(client.rank, step), unrolled(client.rank, step))
        client.wait_for_decision()
        return [decision["tau"] for decision in client.decisions()]

    controller = Controller(TRUNCATED)
    state, wanted = controller.init(), []
    for step in range(6):
        ours, theirs = (unrolled(rank, step).sensitivity for rank in range(2))
        assert ours is not None
        assert theirs is not None
        tokens = ours.tokens + theirs.tokens
        by_groups, by_tokens = [measured(rank, step).groups for rank in range(2)], [ours.tokens, theirs.tokens]
        values = {
            name: (getattr(ours, name) * weights[0] + getattr(theirs, name) * weights[1]) / sum(weights)
            for weights, names in (
                (by_groups, ("entropy", "entropy_tau", "entropy_beta")),
                (by_tokens, ("kl", "kl_tau", "kl_beta")),
            )
            for name in names
        }
        both = ControllerGradients(source="truncated_backprop", sensitivity=replace(ours, **values, tokens=tokens))
        shards = [vars(measured(rank, step)) for rank in range(2)]
        total = {n: v + shards[1][n] for n, v in shards[0].items() if v is not None}
        state, decision = controller.step(state, BatchStatistics(**total), both)
        wanted.append(decision.tau)
    assert on_all(thread_clients(2, TRUNCATED), take) == [wanted, wanted]
    assert len(set(wanted)) == 4  # every second step updates


# --- what is saved and loaded ---


def stop_anywhere(client: ControllerClient, steps: int, where: str) -> dict[str, Any]:
    """Train some steps and save: before the coefficients of the next are asked for, after, or after its report."""
    train(client, range(steps))
    if where != "at its start":
        client.coefficients(steps)
    if where == "after its report":
        client.report(steps, measured(client.rank, steps))
    return json.loads(json.dumps(client.state_dict(), allow_nan=False))  # type: ignore[no-any-return]


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("where", ["at its start", "in its middle", "after its report"])
@pytest.mark.parametrize("saved_by", [0, 1])
@pytest.mark.parametrize("loaded_by", [1, 2])
def test_one_ranks_state_loaded_on_all_goes_on_as_the_undisturbed_run(
    lag: int, where: str, saved_by: int, loaded_by: int
) -> None:
    """Whatever was on its way when it was saved. Two ranks' statistics may become one rank's: their sum is reported."""
    saved = on_all(thread_clients(2, lag=lag), lambda client: stop_anywhere(client, 7, where))[saved_by]
    start = 7 + (where == "after its report")

    def resumed(client: ControllerClient) -> list[Any]:
        client.load_state_dict(saved)
        seen = []
        for step in range(start, 14):
            seen.append(client.coefficients(step))
            shards = [measured(rank, step) for rank in ((client.rank,) if loaded_by == 2 else (0, 1))]
            client.report(step, BatchStatistics(*map(sum, zip(*(vars(each).values() for each in shards), strict=True))))
        return seen

    wanted = expected(2, 14, lag)[start:]
    assert on_all(thread_clients(loaded_by, lag=lag), resumed) == [wanted] * loaded_by


def test_the_decision_that_was_on_its_way_is_made_after_the_resume() -> None:
    first, second = alone(), alone()
    train(first, range(5))
    second.load_state_dict(first.state_dict())
    for client in (first, second):
        client.wait_for_decision()
    assert second.decisions() == first.decisions(4)
    assert [decision["version"] for decision in second.decisions()] == [5]


@pytest.mark.parametrize(("saved_with", "loaded_with"), [(0, 1), (1, 0)])
def test_another_lag_goes_on_from_the_same_rounds(saved_with: int, loaded_with: int) -> None:
    first, second = alone(lag=saved_with), alone(lag=loaded_with)
    train(first, range(6))
    second.load_state_dict(first.state_dict())
    assert train(second, range(6, 12)) == expected(1, 12, loaded_with)[6:]


def test_a_state_is_read_while_other_ranks_are_waited_for() -> None:
    """From another thread, on one rank alone, in the middle of a reduction that cannot end."""
    clients = thread_clients(2)
    on_all(clients, lambda client: train(client, range(3)))
    waiting = threading.Thread(target=on_all, args=([clients[0]], lambda client: client.report(3, measured(0, 3))))
    waiting.start()
    before = clients[0].state_dict()
    clients[1].coefficients(3)
    assert before == {**clients[1].state_dict(), "alarms": before["alarms"]}
    clients[1].report(3, measured(1, 3))
    waiting.join()


def test_a_clone_keeps_its_own_bounds_and_settings() -> None:
    donor, clone = alone(), alone(replace(ANALYTIC, tau=0.25, tau_max=0.251, beta_min=0.09, target_kl=0.2))
    train(donor, range(20))
    assert donor.coefficients(20).tau > 0.251
    clone.load_state_dict(donor.state_dict())
    assert clone.coefficients(20).tau == 0.251
    train(clone, range(20, 22))
    decision = clone.last_decision
    assert decision is not None
    assert decision["target_kl"] == 0.2


def test_a_state_of_another_objective_is_taken_over() -> None:
    donor, clone = alone(), alone(TRUNCATED)
    train(donor, range(4))
    clone.load_state_dict(donor.state_dict())
    clone.coefficients(4)
    clone.report(4, measured(0, 4), unrolled(0, 4))
    assert (clone.coefficients(5).version, clone.coefficients(5).step) == (4, 5)


def malformed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copied = json.loads(json.dumps(values))
    *parents, last = path.split("/")
    inner = copied
    for parent in parents:
        inner = inner[int(parent) if isinstance(inner, list) else parent]
    inner[last] = value
    return copied  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("state/tau", math.nan, "client state.state.tau is nan; it must be a finite number >= 0"),
        ("state/reasons", {}, "unknown: 'reasons'"),
        ("state", None, "client state.state is None; it must be a mapping"),
        ("recent_coefficients", None, "client state.recent_coefficients is None; it must be a list"),
        ("recent_coefficients", [], "client state.recent_coefficients is of rounds []; it must be of the last 2"),
        ("recent_coefficients/0/step", 7, "client state.recent_coefficients is of rounds [7, 1]; it must be of"),
        ("recent_coefficients/0/tau", "0.3", "client state.recent_coefficients[0].tau is '0.3'"),
        ("pending/statistics/tokens", -1, "client state.pending.statistics.tokens is -1"),
        ("pending/gradients", 3, "client state.pending.gradients is 3; it must be a mapping"),
        ("alarms/tau/errors/mean", math.inf, "client state.alarms.tau.errors.mean is inf"),
        ("epoch", 1, "the keys ['alarms', 'pending', 'recent_coefficients', 'state'] (unknown: 'epoch')"),
    ],
)
def test_a_malformed_state_is_refused_by_name_and_nothing_is_loaded(path: str, value: Any, message: str) -> None:
    client = alone()
    train(client, range(3))
    saved = client.state_dict()
    with pytest.raises(InvalidReportError, match=re.escape(message)):
        client.load_state_dict(malformed(saved, path, value))
    assert client.state_dict() == saved
    assert train(client, range(3, 6)) == expected(1, 6, 1)[3:]


@pytest.mark.parametrize("value", [None, [], "state", {"state": {}}])
def test_what_is_no_state_at_all_is_refused(value: Any) -> None:
    with pytest.raises(InvalidReportError, match=r"^client state is .*; it must be a mapping"):
        alone().load_state_dict(value)


# --- numbers that cannot be used, and ranks that differ ---


@pytest.mark.parametrize("bad_rank", [0, 1])
def test_a_rank_with_nan_is_told_the_field_and_all_go_on_alike(bad_rank: int) -> None:
    def take(client: ControllerClient) -> list[Any]:
        seen: list[Any] = train(client, range(3))
        found = measured(client.rank, 3)
        try:
            client.coefficients(3)
            client.report(3, replace(found, policy_kl_sum=math.nan) if client.rank == bad_rank else found)
        except InvalidReportError as error:
            seen.append(str(error))
        seen += train(client, range(4, 8))
        client.wait_for_decision()
        decision = client.decisions(3)[0]
        return [*seen, decision["reason"], decision["events"]]

    results = on_all(thread_clients(2), take)
    message = f"rank {bad_rank}, step 3: statistics.policy_kl_sum is nan; it must be a finite number"
    assert results[bad_rank].pop(3) == message
    assert results[0] == results[1]
    assert results[0][-2:] == ["non_finite", (f"unusable: {message}",)]
    state, controller = hand_loop(ANALYTIC, 2, 3)[-1], Controller(ANALYTIC)
    unmoved, _ = controller.step(state, None)
    assert (unmoved.tau, unmoved.beta, unmoved.version) == (state.tau, state.beta, 4)
    assert results[0][4] == unmoved.coefficients(5)


def test_an_unroll_that_diverged_moves_nothing_and_raises_nothing() -> None:
    client = alone(TRUNCATED, lag=0)
    sensitivity = unrolled(0, 0).sensitivity
    assert sensitivity is not None
    client.report(0, measured(0, 0), ControllerGradients(sensitivity=replace(sensitivity, kl_beta=math.inf)))
    assert client.coefficients(1).tau == TRUNCATED.initial("tau")
    decision = client.last_decision
    assert decision is not None
    assert (decision["reason"], "kl_beta is inf" in decision["events"][0]) == ("non_finite", True)


def test_many_unusable_ranks_are_named_in_a_message_of_bounded_length() -> None:
    def take(client: ControllerClient) -> Any:
        with pytest.raises(InvalidReportError):
            client.report(0, BatchStatistics(tokens="9" * 10**6))  # type: ignore[arg-type]
        client.wait_for_decision()
        client.load_state_dict(client.state_dict())
        return client.last_decision["events"]  # type: ignore[index]

    events = on_all(thread_clients(5), take)[0]
    assert len(events) == 4
    assert events[-1] == "unusable: 2 more ranks"
    assert max(map(len, events)) <= 200


def test_steps_are_reported_in_order_and_once() -> None:
    client = alone()
    client.report(0, measured(0, 0))
    client.report(0, measured(0, 5))  # ignored
    assert client.coefficients(2) == hand_loop(ANALYTIC, 1, 1)[1].coefficients(2)
    for step in (4, 9, -1):
        with pytest.raises(InvalidReportError, match=f"step is {step}; it must be 1, the one after the last"):
            client.report(step, measured(0, step))
    with pytest.raises(InvalidReportError, match=r"step is 9; its coefficients come from round 7, .* rounds \[-1, 0\]"):
        client.coefficients(9)


def test_ranks_in_different_steps_or_states_get_the_same_error() -> None:
    clients = thread_clients(3)
    on_all(clients, lambda client: train(client, range(2)))
    errors = on_all(clients, lambda client: client.report(2 + client.rank // 2, measured(client.rank, 2)))
    said = "ranks are not in the same step: rank 0 reports step 2, rank 2 reports step 3"
    assert {str(error) for error in errors} == {said}
    earlier = alone()
    train(earlier, range(1))
    clients[1].load_state_dict(earlier.state_dict())
    errors = on_all(clients, lambda client: client.report(2, measured(client.rank, 2)))
    assert {type(error) for error in errors} == {InvalidReportError}
    (message,) = {str(error) for error in errors}
    assert "ranks hold controller states of different steps" in message
    assert "rank 1 is to report step 1 next" in message


def test_ranks_with_other_states_of_one_step_get_the_same_error() -> None:
    clients, other = thread_clients(2), alone()
    on_all(clients, lambda client: train(client, range(2)))
    train(other, range(2))
    other.wait_for_decision()
    on_all(clients, lambda client: client.wait_for_decision())
    clients[1].load_state_dict(other.state_dict())
    messages = {str(error) for error in on_all(clients, lambda client: client.report(2, measured(client.rank, 2)))}
    assert len(messages) == 1
    assert "ranks hold different controller states of the same step" in messages.pop()


class Failing(LocalDecider):
    """Raises once."""

    def __init__(self, error: Exception) -> None:
        self._errors = [error]

    def reply(self) -> Reply:
        if self._errors:
            raise self._errors.pop()
        return super().reply()


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ControllerUnavailableError("gone\nand far"), ControllerUnavailableError, "gone\nand far"),
        (ZeroDivisionError("by 0"), ControllerError, "ZeroDivisionError: by 0"),
    ],
)
def test_rank_0s_error_is_everyones_and_the_round_can_be_asked_for_again(
    error: Exception, kind: type[Exception], message: str
) -> None:
    clients = thread_clients(2, lag=0, decider=Failing(error))
    on_all(clients, lambda client: client.report(0, measured(client.rank, 0)))
    errors = on_all(clients, lambda client: client.coefficients(1))
    assert [(type(each), str(each)) for each in errors] == [(kind, message)] * 2
    assert on_all(clients, lambda client: client.coefficients(1)) == [hand_loop(ANALYTIC, 2, 1)[1].coefficients(1)] * 2


class Endless(LocalDecider):
    """What an objective with too large a memory would answer."""

    def reply(self) -> Reply:
        return Reply("9" * 20_000, decided_locally=False)


def test_a_decision_that_no_message_holds_is_an_error_on_all_ranks() -> None:
    clients = thread_clients(2, lag=0, decider=Endless())
    on_all(clients, lambda client: client.report(0, measured(client.rank, 0)))
    errors = on_all(clients, lambda client: client.coefficients(1))
    assert [str(error) for error in errors] == ["a decision has 20000 characters; the limit is 8192"] * 2


# --- alarms ---


def test_alarms_are_given_once_by_rank_0_and_not_again_after_a_resume(caplog: pytest.LogCaptureFixture) -> None:
    """β is held at its bound by a KL of four times the target: the 24th update (23) is the first one held."""
    config = ControllerConfig(group_size=8, target_kl=0.05, beta=0.1, beta_max=1.0, set_point_horizon=0)
    high = BatchStatistics(tokens=1, policy_kl_sum=0.2)

    def take(client: ControllerClient, start: int = 0) -> dict[str, Any]:
        for step in range(start, start + 60):
            client.coefficients(step)
            client.report(step, high)
        client.wait_for_decision()
        return client.state_dict()

    clients = thread_clients(2, config)
    with caplog.at_level(logging.WARNING):
        saved = on_all(clients, take)
        resumed = alone(config)
        resumed.load_state_dict(saved[0])
        take(resumed, 60)
    (record,) = caplog.records
    assert record.getMessage().startswith("step 42: β has been at its upper bound (beta_max = 1) for 20 updates")
    (given,) = [decision for decision in clients[0].decisions() if decision["alarms"]]
    assert (given["step"], given["alarms"][0]["kind"]) == (42, "saturated")
    assert saved[1]["alarms"] is None
    assert "watch" not in json.dumps(saved[0]["state"])
    assert saved[0]["state"] == saved[1]["state"]


# --- arguments ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lag": 2}, "lag is 2; valid: 0, 1"),
        ({"timeout_s": 0.0}, "timeout_s is 0.0; it must be finite and > 0 seconds"),
        ({"round_timeout_s": math.inf}, "round_timeout_s is inf; it must be finite and > 0 seconds"),
        ({"round_timeout_s": 14.0}, "timeout_s is 5.0; it must be at most a third of round_timeout_s = 14.0 seconds"),
        ({"when_unreachable": "hold"}, "when_unreachable is 'hold'; valid: decide_locally, raise"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        ClientOptions(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 0, 1), "run_id is ''; it must name the run"),
        (("  ", 0, 1), "run_id is '  '; it must name the run"),
        (("r" * 201, 0, 1), "run_id has 201 characters; it must have at most 200"),
        (("run", 0, 0), "world_size is 0; it must be >= 1"),
        (("run", 2, 2), "rank is 2; it must be in [0, 2), the world size"),
        (("run", -1, 2), "rank is -1; it must be in [0, 2), the world size"),
        (("run", 0, 2), "world_size is 2 with local=True: several ranks need a process group"),
    ],
)
def test_connect_checks_its_arguments(arguments: tuple[str, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        connect(*arguments, ANALYTIC, local=True)


def test_without_ray_it_says_what_to_do() -> None:
    import ray

    if ray.is_initialized():
        pytest.skip("another test's cluster is there")
    with pytest.raises(ConfigError, match=r"Ray is not running; call ray.init\(\) first, or connect with local=True"):
        connect("run", 0, 1, ANALYTIC)


# --- trainers that count from another step ---


@pytest.mark.parametrize("lag", [0, 1])
def test_a_trainer_resumed_without_the_controllers_state_counts_from_its_own_step(lag: int) -> None:
    client, undisturbed = alone(lag=lag), alone(lag=lag)
    for step in range(5):
        assert client.coefficients(500 + step).tau == undisturbed.coefficients(step).tau
        client.report(500 + step, measured(step, 0))
        undisturbed.report(step, measured(step, 0))
    assert [decision["step"] for decision in client.decisions()] == list(range(500, 504))
    with pytest.raises(InvalidReportError, match="step is 3; it must be 505"):
        client.report(3, measured(3, 0))


def test_the_first_report_may_name_the_first_step() -> None:
    client = alone(lag=0)
    client.report(500, measured(0, 0))
    assert client.coefficients(501).step == 501


def test_a_loaded_state_names_the_next_step() -> None:
    client, resumed = alone(), alone()
    for step in range(3):
        client.report(step, measured(step, 0))
    resumed.load_state_dict(client.state_dict())
    with pytest.raises(InvalidReportError, match="step is 9; it must be 3"):
        resumed.report(9, measured(9, 0))


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_signal_that_all_ranks_lack_is_an_error_on_each(ranks: int) -> None:
    def report(client: ControllerClient) -> str:
        with pytest.raises(InvalidReportError) as caught:
            client.report(0, BatchStatistics(tokens=4, policy_kl_sum=0.1))
        assert client.coefficients(0).version == 0
        return str(caught.value)

    (message,) = set(on_all(thread_clients(ranks), report))
    assert message.startswith("step 0: statistics.weight_entropy_sum is None, but tau is to hold weight_entropy")
