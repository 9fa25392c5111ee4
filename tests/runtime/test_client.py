from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.controller_state import Coefficients, ControllerState
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import ConfigError, ControllerUnavailableError, InvalidReportError, RoundTimeoutError
from maxent_ray.runtime.agreement import Proposal
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.connecting import connect
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.protocol import Answer, Report, StateLoad
from maxent_ray.runtime.rounds import RoundPolicy
from maxent_ray.runtime.service import ControllerService
from maxent_ray.runtime.transport import LocalTransport
from tests.runtime.support import ANALYTIC, hand_loop, measured


def expected(states: Sequence[ControllerState], step: int, lag: int) -> Coefficients:
    """What step s trains with: states[r + 1] is the state after round r = s − 1 − lag."""
    return states[max(step - lag, 0)].coefficients(step)


def one_rank(lag: int = 0, **options: Any) -> ControllerClient:
    return connect("run", 0, 1, ANALYTIC, options=ClientOptions(lag=lag, **options), local=True)


def train(client: ControllerClient, steps: range) -> list[Coefficients]:
    seen = []
    for step in steps:
        seen.append(client.coefficients(step))
        client.report(step, measured(client.rank, step))
    return seen


@pytest.mark.parametrize("lag", [0, 1])
def test_step_s_trains_with_the_outcome_of_round_s_minus_1_minus_lag(lag: int) -> None:
    states = hand_loop(ANALYTIC, [0], 10)
    assert train(one_rank(lag), range(10)) == [expected(states, step, lag) for step in range(10)]


@pytest.mark.parametrize("lag", [0, 1])
def test_all_ranks_of_a_step_get_the_same(lag: int) -> None:
    transport = LocalTransport(ControllerService("run", ANALYTIC, 2))
    clients = [ControllerClient("run", rank, ANALYTIC, transport, ClientOptions(lag=lag)) for rank in range(2)]
    seen: dict[int, list[Coefficients]] = {}
    threads = [
        threading.Thread(target=lambda client=client: seen.update({client.rank: train(client, range(20))}))
        for client in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = hand_loop(ANALYTIC, range(2), 20)
    assert seen[0] == seen[1] == [expected(states, step, lag) for step in range(20)]


@pytest.mark.parametrize("saved_with", [0, 1])
@pytest.mark.parametrize("loaded_with", [0, 1])
def test_a_resumed_run_continues_as_the_uninterrupted_one(saved_with: int, loaded_with: int) -> None:
    states = hand_loop(ANALYTIC, [0], 12)
    client = one_rank(saved_with)
    train(client, range(5))
    checkpoint = json.loads(json.dumps(client.state_dict(), allow_nan=False))
    resumed = one_rank(loaded_with)
    resumed.load_state_dict(checkpoint)
    after = [expected(states, step, loaded_with) for step in range(5, 12)]
    assert train(resumed, range(5, 12)) == after
    if saved_with == loaded_with:  # taking the checkpoint did not disturb the run itself
        assert train(client, range(5, 12)) == after


def test_the_first_state_dict_starts_a_run_over() -> None:
    client = one_rank(lag=1)
    start = client.state_dict()
    first = train(client, range(4))
    client.load_state_dict(start)
    assert train(client, range(4)) == first


def test_a_clone_keeps_its_own_bounds() -> None:
    donor = one_rank()
    train(donor, range(6))
    narrow = replace(ANALYTIC, tau=1.0, tau_min=0.9, tau_max=1.1)
    clone = connect("clone", 0, 1, narrow, options=ClientOptions(lag=0), local=True)
    clone.load_state_dict(donor.state_dict())
    assert donor.coefficients(6).tau < 0.9
    assert clone.coefficients(6).tau == 0.9
    assert clone.coefficients(6).beta == donor.coefficients(6).beta


def test_a_malformed_checkpoint_is_refused() -> None:
    client = one_rank()
    with pytest.raises(InvalidReportError, match="it needs"):
        client.load_state_dict({"state": {}})
    with pytest.raises(InvalidReportError, match="missing: 'beta', 'version', 'step'"):
        client.load_state_dict({"state": {"tau": 1.0}, "answered": []})


def test_unusable_statistics_are_refused_at_once() -> None:
    client = one_rank()
    with pytest.raises(InvalidReportError, match=r"rank 0, step 0: statistics.reward_sum is nan"):
        client.report(0, BatchStatistics(reward_sum=float("nan")))
    assert train(client, range(1))[0].version == 0


def test_a_rank_without_usable_statistics_goes_on_like_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """Four ranks as threads; rank 2 measures NaN in step 1, and nobody's τ or β moves by that round."""
    transport = LocalTransport(ControllerService("run", ANALYTIC, 4))
    clients = [ControllerClient("run", rank, ANALYTIC, transport, ClientOptions(lag=0)) for rank in range(4)]
    seen: dict[int, list[Coefficients]] = {}

    def run(client: ControllerClient) -> None:
        seen[client.rank] = []
        for step in range(4):
            seen[client.rank].append(client.coefficients(step))
            poisoned = client.rank == 2 and step == 1
            statistics = BatchStatistics(reward_sum=float("nan")) if poisoned else measured(client.rank, step)
            if poisoned:
                with pytest.raises(InvalidReportError, match=r"rank 2, step 1: statistics.reward_sum is nan"):
                    client.report(step, statistics)
            else:
                client.report(step, statistics)

    in_threads([lambda client=client: run(client) for client in clients])
    assert seen[0] == seen[1] == seen[2] == seen[3]
    before, after = seen[0][1], seen[0][2]
    assert (after.tau, after.beta) == (before.tau, before.beta)
    assert seen[0][3].tau != after.tau
    decision = clients[0].decisions(since_version=1)[0]
    assert decision["reason"] == "non_finite"
    assert "rank 2, step 1: statistics.reward_sum is nan" in decision["events"][0]


def test_an_unroll_that_diverged_raises_nothing_and_moves_nothing() -> None:
    client = one_rank()
    client.report(0, measured(0, 0), ControllerGradients(tau_grad=float("inf")))
    assert client.coefficients(1).tau == ANALYTIC.tau
    assert client.last_decision["events"] == (
        "rank 0, step 0: gradients.tau_grad is inf; it must be a finite number at most 1e+100 in size",
    )
    with pytest.raises(InvalidReportError, match=r"gradients.tau_grad is 'much'"):
        client.report(1, measured(0, 1), ControllerGradients(tau_grad="much"))  # type: ignore[arg-type]


def test_a_missing_rank_is_named_and_the_question_may_be_asked_again() -> None:
    policy = RoundPolicy(timeout_s=0.05)
    transport = LocalTransport(ControllerService("run", ANALYTIC, 2, policy=policy))
    first, second = [ControllerClient("run", rank, ANALYTIC, transport, ClientOptions(lag=0)) for rank in range(2)]
    first.report(0, measured(0, 0))
    for _ in range(2):
        with pytest.raises(RoundTimeoutError, match="no report from rank 1 of 2"):
            first.coefficients(1)
    second.report(0, measured(1, 0))
    assert first.coefficients(1) == second.coefficients(1) == hand_loop(ANALYTIC, range(2), 1)[-1].coefficients(1)
    assert first.counters()["held_steps"] == 0  # the controller was there all the time


def test_a_quorum_keeps_the_ranks_that_are_left_together() -> None:
    policy = RoundPolicy("quorum", timeout_s=3.0, quorum_fraction=0.5)  # only the first round takes it
    transport = LocalTransport(ControllerService("run", ANALYTIC, 4, policy=policy))
    clients = [ControllerClient("run", rank, ANALYTIC, transport, ClientOptions(lag=0)) for rank in range(3)]
    seen: dict[int, list[Coefficients]] = {}
    in_threads([lambda client=client: seen.update({client.rank: train(client, range(5))}) for client in clients])
    states = hand_loop(ANALYTIC, range(3), 5)
    assert seen[0] == seen[1] == seen[2] == [states[step].coefficients(step) for step in range(5)]
    assert clients[0].controller_counters()["quorum_rounds"] == 5
    assert clients[0].controller_counters()["round_timeouts"] == 0


def test_alarms_are_logged_once_by_one_rank(caplog: pytest.LogCaptureFixture) -> None:
    """β is at its upper bound, and KL four times its target."""
    config = replace(ANALYTIC, beta=0.1, beta_max=0.2, saturation_patience=3)
    transport = LocalTransport(ControllerService("run", config, 2))
    clients = [ControllerClient("run", rank, config, transport, ClientOptions(lag=0)) for rank in range(2)]
    far = BatchStatistics(groups=1, tokens=1, weight_entropy_sum=1.5, policy_kl_sum=0.2)
    with caplog.at_level(logging.WARNING):
        in_threads([lambda c=c: [(c.coefficients(s), c.report(s, far)) for s in range(60)] for c in clients])
    assert len(caplog.records) == 1
    assert "β" in caplog.records[0].getMessage()
    assert caplog.records[0].getMessage().endswith("[saturated]")


class RanksInThreads:
    """A process group's stand-in: every rank waits for the others' proposals, and calls back while it does."""

    def __init__(self, ranks: int) -> None:
        self.table: dict[tuple[int, int], Proposal] = {}
        self.ranks = ranks

    def of(self, rank: int) -> Any:
        return SimpleNamespace(settle=lambda own, while_waiting: self.settle(rank, own, while_waiting))

    def settle(self, rank: int, own: Proposal, while_waiting: Callable[[], None]) -> Answer:
        step = own.answer.coefficients.step
        self.table[step, rank] = own
        while len(known := [self.table[step, r] for r in range(self.ranks) if (step, r) in self.table]) < self.ranks:
            time.sleep(0.01)
            while_waiting()
        taken = min(known, key=lambda proposal: proposal.alone)
        return own.answer if taken.answer.coefficients == own.answer.coefficients else taken.answer


def test_a_report_that_was_lost_is_sent_again_while_others_wait_for_it() -> None:
    """Rank 0 decides step 2 alone and waits for rank 1, who waits in the controller for rank 0's report of it."""
    transport = LocalTransport(ControllerService("run", ANALYTIC, 2))
    group, line = RanksInThreads(2), FlakyTransport(ANALYTIC)
    line.inner = transport
    options = ClientOptions(lag=0, retries=0)
    ways = (line, transport)
    clients = [ControllerClient("run", r, ANALYTIC, ways[r], options, group.of(r)) for r in range(2)]
    seen: dict[int, list[Coefficients]] = {0: [], 1: []}

    def run(client: ControllerClient) -> None:
        for step in range(6):
            seen[client.rank].append(client.coefficients(step))
            line.failures = 1 if client.rank == 0 and step == 2 else line.failures
            client.report(step, measured(client.rank, step))

    in_threads([lambda client=client: run(client) for client in clients])
    states = hand_loop(ANALYTIC, range(2), 6)
    assert seen[0] == seen[1] == [states[step].coefficients(step) for step in range(6)]
    assert (clients[0].counters()["held_steps"], clients[0].counters()["corrected_steps"]) == (1, 1)
    assert all(decision["reason"] != "stale" for decision in clients[0].decisions())


def test_a_rank_that_lost_an_answer_and_held_takes_back_nothing() -> None:
    """Without an agreement over ranks: rank 1 loses the answer of round 2 and its report of round 3."""
    transport = LocalTransport(ControllerService("run", ANALYTIC, 2))
    line = FlakyTransport(ANALYTIC)
    line.inner = transport
    options = ClientOptions(lag=0, retries=0)
    clients = [ControllerClient("run", rank, ANALYTIC, way, options) for rank, way in enumerate((transport, line))]
    seen: dict[int, list[Coefficients]] = {0: [], 1: []}

    def run(client: ControllerClient) -> None:
        for step in range(7):
            seen[client.rank].append(client.coefficients(step))
            client.report(step, measured(client.rank, step))
            if client.rank == 1 and step == 2:
                line.failures = 2  # this answer, and the next report

    in_threads([lambda client=client: run(client) for client in clients])
    states = hand_loop(ANALYTIC, range(2), 3)
    taus = [[known.tau for known in seen[rank]] for rank in range(2)]
    assert taus[0][:5] == [*(state.tau for state in states), states[3].tau]  # round 2 as decided, round 3 held
    assert taus[1][:5] == [*(state.tau for state in states[:3]), states[2].tau, states[2].tau]
    assert taus[0][5:] == taus[1][5:] and taus[0][5] != states[3].tau
    assert clients[0].controller_counters()["lost_rounds"] == 1


def test_a_controller_with_a_past_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """A second run of the same name, or an attempt that did not load its checkpoint."""
    transport = LocalTransport(ControllerService("run", ANALYTIC, 1))
    train(ControllerClient("run", 0, ANALYTIC, transport, ClientOptions(lag=0)), range(30))
    stranger = ControllerClient("run", 0, ANALYTIC, transport, ClientOptions(lag=0))
    with caplog.at_level(logging.WARNING):
        train(stranger, range(4))
    assert [record.getMessage() for record in caplog.records] == [
        "run 'run': rank 0 reports step 0, but the controller has decided through step 29: it serves another run of "
        "this name, or an earlier attempt. Load a state, or choose another run_id"
    ]


def in_threads(calls: Sequence[Callable[[], object]]) -> None:
    """Run all at once; the first error of any is raised here."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result(timeout=60)


def test_a_round_that_was_never_reported_is_named() -> None:
    with pytest.raises(InvalidReportError, match="outcome of round 4"):
        one_rank(lag=1).coefficients(6)


def test_a_step_reported_twice_counts_once() -> None:
    client = one_rank(lag=1)
    client.report(0, measured(0, 0))
    client.report(0, measured(3, 3))
    client.report(1, measured(0, 1))
    assert client.coefficients(3) == hand_loop(ANALYTIC, [0], 2)[-1].coefficients(3)


def test_decisions_reach_the_client() -> None:
    client = one_rank()
    assert client.last_decision is None
    train(client, range(3))
    client.coefficients(3)
    assert [decision["version"] for decision in client.decisions(since_version=1)] == [2, 3]
    assert client.last_decision == client.decisions()[-1]
    assert client.controller_counters()["reasons"] == {client.last_decision["reason"]: 3}


class FlakyTransport:
    """A hand-written line to a service: the next ``failures`` calls fail; a crash forgets everything."""

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        self.failures = 0
        self.crash()

    def crash(self) -> None:
        self.inner = LocalTransport(ControllerService("run", self.config, 1))

    def generation(self) -> int:
        return self.inner.generation()

    def prepare(self, report: Report) -> Report:
        return report

    def submit(self, report: Report) -> tuple[LocalTransport, Report]:
        self._fail()
        return self.inner, self.inner.submit(report)

    def result(self, handle: tuple[LocalTransport, Report], timeout_s: float) -> Answer:
        self._fail()
        asked, report = handle
        if asked is not self.inner:
            raise ControllerUnavailableError("the controller that was asked has died")
        return asked.result(report, timeout_s)

    def load_state(self, load: StateLoad, timeout_s: float) -> int:
        self._fail()
        return self.inner.load_state(load, timeout_s)

    def counters(self, timeout_s: float) -> dict[str, Any]:
        return self.inner.counters(timeout_s)

    def close(self) -> None:
        self.inner.close()

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise ControllerUnavailableError("line cut")


def flaky(**options: Any) -> tuple[ControllerClient, FlakyTransport]:
    transport = FlakyTransport(ANALYTIC)
    options = {"lag": 0, "backoff_s": 0.0, "timeout_s": 0.05, **options}
    return ControllerClient("run", 0, ANALYTIC, transport, ClientOptions(**options)), transport


@pytest.mark.parametrize("lag", [0, 1])
def test_retries_bridge_a_short_outage(lag: int) -> None:
    client, transport = flaky(lag=lag)
    seen = train(client, range(4))
    transport.failures = 3
    seen += train(client, range(4, 8))
    assert seen == [expected(hand_loop(ANALYTIC, [0], 8), step, lag) for step in range(8)]
    retries = 3 - lag  # with lag 1 two reports are open, and each retry sends both
    assert client.counters() == {
        "retries": retries,
        "failed_calls": 3,
        "held_steps": 0,
        "local_steps": 0,
        "corrected_steps": 0,
    }


@pytest.mark.parametrize("lag", [0, 1])
def test_a_crash_that_loses_open_reports_changes_nothing(lag: int) -> None:
    client, transport = flaky(lag=lag)
    seen = train(client, range(4))
    transport.crash()
    seen += train(client, range(4, 8))
    assert seen == [expected(hand_loop(ANALYTIC, [0], 8), step, lag) for step in range(8)]
    assert client.counters()["held_steps"] == 0
    assert client.controller_counters()["adopted"] == 1


def test_hold_keeps_the_coefficients_and_counts(caplog: pytest.LogCaptureFixture) -> None:
    client, transport = flaky(retries=1)
    states = hand_loop(ANALYTIC, [0], 3)
    train(client, range(3))
    client.coefficients(3)
    transport.failures = 1_000
    with caplog.at_level(logging.WARNING):
        held = train(client, range(3, 7))
    assert {(c.tau, c.beta) for c in held} == {(states[3].tau, states[3].beta)}
    assert [c.version for c in held] == [3, 4, 5, 6]
    message = "run 'run', rank 0, step 3: the controller cannot be reached (line cut); until it is back: "
    assert [record.getMessage() for record in caplog.records] == [  # once an outage, not once a step
        f"{message}coefficients are held"
    ]
    assert client.counters()["held_steps"] == 3
    assert client.counters()["retries"] == 1  # only the first round of the outage is tried again
    transport.failures = 0
    client.coefficients(7)  # round 6 was sent into the outage: held as well
    train(client, range(7, 9))
    assert client.coefficients(9).tau != states[3].tau
    assert client.last_decision["version"] == 9
    assert client.controller_counters()["unreachable_steps"] == 4
    assert client.controller_counters()["reasons"]["stale"] == 4


def test_local_steps_a_copy_on_the_ranks_own_statistics() -> None:
    client, transport = flaky(when_unreachable="local", retries=0)
    train(client, range(2))
    transport.failures = 1_000
    train(client, range(2, 5))
    transport.failures = 0
    seen = train(client, range(5, 8))
    states = hand_loop(ANALYTIC, [0], 8)  # with one rank, its own statistics are all there are
    assert seen == [expected(states, step, 0) for step in range(5, 8)]
    assert client.counters()["local_steps"] == 4


def test_in_an_outage_a_rank_remembers_what_it_decided_for_those_who_come_after() -> None:
    """Sixteen rounds at most, and two again when the controller is back."""
    client, transport = flaky(retries=0)
    train(client, range(3))
    transport.failures = 1_000
    train(client, range(3, 9))
    assert list(client._answered) == list(range(0, 8))
    train(client, range(9, 30))
    assert list(client._answered) == list(range(13, 29))
    transport.failures = 0
    train(client, range(30, 33))
    assert list(client._answered) == [30, 31]


def test_a_checkpoint_does_not_wait_for_a_round_that_a_restarted_controller_waits_to_hear_of() -> None:
    """Lag 1: round 2 is decided and its answer on its way when the controller dies; round 3 goes to the new one."""
    client, transport = flaky(lag=1)
    train(client, range(3))
    client.coefficients(3)
    answered = transport.inner
    transport.crash()
    client.report(3, measured(0, 3))
    # Ray has kept the old one's answer:
    transport.result = lambda handle, timeout_s: (  # type: ignore[method-assign]
        (answered if handle[1].step == 2 else transport.inner).result(handle[1], timeout_s)
    )
    transport.inner._service.policy = replace(transport.inner._service.policy, timeout_s=5.0)
    states = hand_loop(ANALYTIC, [0], 4)
    assert client.state_dict()["state"] == states[4].to_dict()


def test_a_rank_that_is_told_of_more_decided_rounds_stays_where_it_is() -> None:
    """It held until step 5; another rank's state has one more round decided, but is of step 2."""
    client, transport = flaky(retries=0)
    train(client, range(3))
    transport.failures = 1_000
    train(client, range(3, 7))
    transport.failures = 0
    known = hand_loop(ANALYTIC, [0], 3)[-1]
    client._take(6, Answer(known.coefficients(6), known.to_dict(), None))
    assert (client._state.decided, client._state.step, client._state.tau) == (3, 5, known.tau)


def test_raise_raises_until_the_controller_is_back() -> None:
    client, transport = flaky(when_unreachable="raise", retries=2)
    train(client, range(2))
    transport.failures = 1_000
    for _ in range(2):
        with pytest.raises(ControllerUnavailableError, match="no answer for step 1 after 2 retries"):
            client.coefficients(2)
    transport.failures = 0
    assert client.coefficients(2) == hand_loop(ANALYTIC, [0], 2)[-1].coefficients(2)


def test_loading_retries_and_then_raises() -> None:
    client, transport = flaky(retries=2)
    transport.failures = 2
    client.load_state_dict(client.state_dict())
    transport.failures = 3
    with pytest.raises(ControllerUnavailableError, match="did not take the state"):
        client.load_state_dict(client.state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lag": 2}, "lag is 2; valid: 0, 1"),
        ({"reduction": "tree"}, "reduction is 'tree'"),
        ({"when_unreachable": "guess"}, "valid: hold, local, raise"),
        ({"timeout_s": 0.0}, "timeout_s is 0.0"),
        ({"timeout_s": float("inf")}, "timeout_s is inf"),
        ({"retries": -1}, "retries is -1"),
        ({"backoff_s": float("nan")}, "backoff_s is nan"),
    ],
)
def test_options_are_checked_at_the_door(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClientOptions(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 0, 1), "run_id is empty"),
        (("r" * 201, 0, 1), "run_id has 201 characters"),
        (("run", 1, 1), "rank is 1"),
        (("run", 0, 0), "world_size is 0"),
        (("run", 0, 2), "only one rank can report"),
    ],
)
def test_connect_checks_its_arguments(arguments: tuple[str, int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        connect(*arguments, ANALYTIC, local=True)


def test_collective_needs_torch_distributed() -> None:
    with pytest.raises(ConfigError, match="init_process_group"):
        connect("run", 0, 2, ANALYTIC, options=ClientOptions(reduction="collective"), local=True)
