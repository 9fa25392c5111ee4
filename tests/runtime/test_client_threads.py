"""A client that several threads use, as where a trainer learns in one and saves from another."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from torch.distributed import HashStore

from maxent_ray.errors import InvalidReportError, RankLostError
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.collective import GlooCollective, LocalCollective
from maxent_ray.runtime.connect import connect
from maxent_ray.runtime.deciders import LocalDecider
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.rank_store import RankStore
from maxent_ray.runtime.reply import Reply
from tests.runtime.support import ANALYTIC, hand_loop, measured

STEPS = 60
PATIENCE_S = 60.0
"""Seconds after which a call that waits is taken for one that waits for ever."""


@pytest.fixture(autouse=True)
def eager_switches() -> Iterator[None]:
    """Threads take turns after every few instructions, so that a race is met within a test."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def alone(lag: int) -> ControllerClient:
    return connect("run", 0, 1, ANALYTIC, options=ClientOptions(lag=lag), local=True)


def in_thread(call: Callable[[], Any]) -> Future[Any]:
    """The call's future; the thread ends with it."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(call)
    pool.shutdown(wait=False)
    return future


def check_state(saved: dict[str, Any], states: list[dict[str, Any]]) -> None:
    """A saved state is one of the undisturbed run's, whole: its coefficients and pending round belong to it."""
    state = saved["state"]
    assert state == states[state["version"]]
    assert [each["step"] for each in saved["recent_coefficients"]] == [state["step"] - 1, state["step"]]
    newest = saved["recent_coefficients"][-1]
    assert (newest["tau"], newest["beta"], newest["version"]) == (state["tau"], state["beta"], state["version"])
    pending = saved["pending"]
    assert pending is None or pending["statistics"] == measured(0, state["step"] + 1).to_dict()


def check_log(decisions: list[dict[str, Any]], states: list[dict[str, Any]]) -> None:
    """Decisions follow one on the other, none is missing or there twice."""
    versions = [decision["version"] for decision in decisions]
    assert versions == list(range(1, len(versions) + 1))
    assert [decision["tau"] for decision in decisions] == [states[version]["tau"] for version in versions]


def read_until(done: threading.Event, client: ControllerClient, states: list[dict[str, Any]]) -> None:
    """Read all that can be read, again and again; all of it must fit the undisturbed run."""
    while True:
        check_state(client.state_dict(), states)
        check_log(client.decisions(), states)
        last = client.last_decision
        assert last is None or last["tau"] == states[last["version"]]["tau"]
        assert client.counters() == {"decided_locally": 0}
        if done.is_set():
            return


@pytest.mark.parametrize("lag", [0, 1])
def test_what_other_threads_read_is_whole(lag: int) -> None:
    client, done = alone(lag), threading.Event()
    states = [json.loads(json.dumps(state.to_dict())) for state in hand_loop(ANALYTIC, 1, STEPS)]

    readers = [in_thread(lambda: read_until(done, client, states)) for _ in range(3)]
    try:
        for step in range(STEPS):
            assert client.coefficients(step).tau == states[max(step - lag, 0)]["tau"]
            client.report(step, measured(0, step))
    finally:
        done.set()
    for reader in readers:
        reader.result(PATIENCE_S)


@pytest.mark.parametrize("lag", [0, 1])
def test_a_state_may_be_loaded_while_another_thread_reports(lag: int) -> None:
    """It is taken back again and again to what it was; a step that no longer follows is refused by name."""
    client, done = alone(lag), threading.Event()
    states = [json.loads(json.dumps(state.to_dict())) for state in hand_loop(ANALYTIC, 1, STEPS)]
    start = client.state_dict()

    def load() -> None:
        while not done.is_set():
            client.load_state_dict(client.state_dict())
            client.load_state_dict(start)

    others, reported = [in_thread(load), in_thread(lambda: read_until(done, client, states))], 0
    try:
        while reported < STEPS:
            saved = client.state_dict()
            step = saved["state"]["step"] + 1 + (saved["pending"] is not None)
            try:
                if step < STEPS:
                    reported += client.report(step, measured(0, step)) is not None
                else:
                    client.load_state_dict(start)
            except InvalidReportError as error:  # a state was loaded since
                assert f"step is {step}" in str(error)
    finally:
        done.set()
    for other in others:
        other.result(PATIENCE_S)


class HeldDecider(LocalDecider):
    """Decides when it is let; notes when."""

    def __init__(self, events: list[str]) -> None:
        self.asked, self.may_decide, self.events = threading.Event(), threading.Event(), events

    def reply(self) -> Reply:
        self.asked.set()
        assert self.may_decide.wait(PATIENCE_S)
        self.events.append("decided")
        return super().reply()


class NotingCollective(LocalCollective):
    """Notes when it is closed."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def close(self) -> None:
        self.events.append("closed")


def test_nothing_is_closed_under_a_thread_that_waits_for_a_decision() -> None:
    """And what other threads read meanwhile does not wait for it."""
    events: list[str] = []
    decider = HeldDecider(events)
    client = ControllerClient("run", 0, ANALYTIC, NotingCollective(events), decider, ClientOptions(lag=0))
    client.report(0, measured(0, 0))
    waiting = in_thread(lambda: client.coefficients(1))
    assert decider.asked.wait(PATIENCE_S)
    state, decisions, last, counters = in_thread(
        lambda: (client.state_dict(), client.decisions(), client.last_decision, client.counters())
    ).result(PATIENCE_S)
    assert (state["state"]["version"], decisions, last, counters) == (0, [], None, {"decided_locally": 0})
    closing = threading.Thread(target=client.close)
    closing.start()
    closing.join(0.3)  # time to do it wrong; nothing is asserted of it
    decider.may_decide.set()
    assert waiting.result(PATIENCE_S).version == 1
    closing.join(PATIENCE_S)
    assert events == ["decided", "closed"]


@pytest.mark.parametrize("attempt", range(10))
def test_a_thread_whose_client_is_closed_is_told_so(attempt: int) -> None:
    """Wherever it is just then: real collectives, of a single rank."""
    store = RankStore(HashStore(), HashStore(), rank=0, world_size=1)
    collective = GlooCollective(store, rank=0, world_size=1, timeout_s=PATIENCE_S)
    client = ControllerClient("run", 0, ANALYTIC, collective, LocalDecider(), ClientOptions(lag=1))
    running = threading.Event()

    def train() -> None:
        for step in range(1_000_000):
            client.coefficients(step)
            client.report(step, measured(0, step))
            if step == attempt:
                running.set()

    training = in_thread(train)
    assert running.wait(PATIENCE_S)
    client.close()
    client.close()
    error = training.exception(PATIENCE_S)
    assert isinstance(error, RankLostError)
    assert str(error) == "the connection to the other ranks was closed"
    assert client.state_dict()["state"]["version"] == len(client.decisions()) >= attempt  # both stay readable
