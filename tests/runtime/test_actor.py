"""The runtime on a real local Ray cluster."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import ray

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_state import Coefficients, ControllerState
from maxent_ray.core.statistics import merge_all
from maxent_ray.errors import ConfigError, ControllerUnavailableError, InvalidReportError, RoundTimeoutError
from maxent_ray.runtime.actor import get_or_create
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.connecting import NAMESPACE, connect
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.rounds import RoundPolicy
from maxent_ray.runtime.transport import Transport
from tests.runtime.support import ANALYTIC, hand_loop, measured

pytestmark = pytest.mark.ray

PATIENT = ClientOptions(lag=0, timeout_s=60.0, retries=8, backoff_s=0.25)


class Worker:
    """One rank, in a process of its own."""

    def __init__(self, run_id: str, rank: int, world_size: int, lag: int) -> None:
        self.client = connect(run_id, rank, world_size, ANALYTIC, options=replace(PATIENT, lag=lag))

    def train(self, start: int, stop: int) -> list[Coefficients]:
        seen = []
        for step in range(start, stop):
            seen.append(self.client.coefficients(step))
            self.client.report(step, measured(self.client.rank, step))
        return seen

    def counters(self) -> dict[str, int]:
        return self.client.counters()


def start_workers(run_id: str, lag: int) -> list[Any]:
    return [ray.remote(Worker).options(num_cpus=0).remote(run_id, rank, 2, lag) for rank in range(2)]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


@pytest.mark.parametrize("lag", [0, 1])
def test_two_ranks_keep_their_trajectory_through_a_crash(ray_cluster: None, run_id: str, lag: int) -> None:
    controller = get_or_create(run_id, ANALYTIC, 2, NAMESPACE)
    workers = start_workers(run_id, lag)
    training = [worker.train.remote(0, 400) for worker in workers]
    wait_until(lambda: ray.get(controller.state.remote())["version"] >= 20)
    ray.kill(controller, no_restart=False)
    seen = ray.get(training, timeout=120)
    states = hand_loop(ANALYTIC, range(2), 400)
    assert seen[0] == seen[1] == [states[max(s - lag, 0)].coefficients(s) for s in range(400)]
    for counters in ray.get([worker.counters.remote() for worker in workers]):
        assert (counters["held_steps"], counters["local_steps"]) == (0, 0)
    assert ray.get(controller.counters.remote())["adopted"] >= 1  # the crash fell into the run, not behind it


def test_a_controller_gone_for_good_gets_a_successor(ray_cluster: None, run_id: str) -> None:
    client = connect(run_id, 0, 1, ANALYTIC, options=PATIENT)
    seen = _train(client, range(3))
    ray.kill(get_or_create(run_id, ANALYTIC, 1, NAMESPACE), no_restart=True)
    seen += _train(client, range(3, 6))
    states = hand_loop(ANALYTIC, [0], 6)
    assert seen == [states[step].coefficients(step) for step in range(6)]
    assert client.counters()["held_steps"] == 0


def test_another_config_or_world_size_is_refused_by_name(ray_cluster: None, run_id: str) -> None:
    client = connect(run_id, 0, 2, ANALYTIC, options=PATIENT)
    with pytest.raises(ConfigError, match=r"target_kl is 0.05 there, 0.1 here"):
        connect(run_id, 1, 2, replace(ANALYTIC, target_kl=0.1))
    with pytest.raises(ConfigError, match=r"timeout_s is 600.0 there, 5.0 here"):
        connect(run_id, 1, 2, ANALYTIC, options=replace(PATIENT, rounds=RoundPolicy(timeout_s=5.0)))
    other = connect(run_id, 1, 3, ANALYTIC, options=PATIENT)
    other.report(0, measured(1, 0))
    with pytest.raises(InvalidReportError, match="world_size is 3; this controller gathers 2 reports a round"):
        other.coefficients(1 + PATIENT.lag)
    client.close()


def test_a_refused_report_reaches_the_worker(ray_cluster: None, run_id: str) -> None:
    client = connect(run_id, 0, 1, ANALYTIC, options=PATIENT)
    client.report(7, measured(0, 7))
    with pytest.raises(InvalidReportError, match="step is 7, but step 0 was expected"):
        client.coefficients(8)


class CutLine:
    """A rank's way to the actor that can be cut: what a broken network does to one rank alone."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.cut = False

    def __getattr__(self, name: str) -> Any:
        if self.cut and name in ("submit", "result"):
            raise ControllerUnavailableError("the line is cut")
        return getattr(self.inner, name)


def test_a_rank_that_holds_agrees_with_the_rank_that_comes_later(ray_cluster: None, run_id: str) -> None:
    """Rank 0 cannot reach the actor and holds; when rank 1 comes, it gets what rank 0 trained with."""
    first = connect(run_id, 0, 2, ANALYTIC, options=ClientOptions(lag=0, retries=0))
    line = first._transport = CutLine(first._transport)
    second = connect(run_id, 1, 2, ANALYTIC, options=PATIENT)
    line.cut = True
    first.report(0, measured(0, 0))
    held = first.coefficients(1)
    assert (held.tau, held.version) == (ANALYTIC.tau, 1)
    line.cut = False
    first.report(1, measured(0, 1))
    wait_until(lambda: second.controller_counters()["lost_rounds"] == 1)
    second.report(0, measured(1, 0))
    assert second.coefficients(1) == held
    second.report(1, measured(1, 1))
    assert first.coefficients(2) == second.coefficients(2)
    assert first.coefficients(2).tau != ANALYTIC.tau
    assert second.controller_counters()["unreachable_steps"] == 1


def test_loading_a_state_releases_whoever_waits(ray_cluster: None, run_id: str) -> None:
    client = connect(run_id, 0, 2, ANALYTIC, options=PATIENT)
    start = client.state_dict()
    controller = get_or_create(run_id, ANALYTIC, 2, NAMESPACE)
    client.report(0, measured(0, 0))
    waiting = next(iter(client._pending.values())).handle
    client.load_state_dict(start)
    with pytest.raises(ray.exceptions.RayTaskError, match="another state was loaded"):
        ray.get(waiting, timeout=60)
    assert ray.get(controller.state.remote())["version"] == 0


def test_an_actor_serves_one_run_after_the_other_even_through_a_crash(ray_cluster: None, run_id: str) -> None:
    """A restarted actor begins with the run it was created for; the second run's settings must come back."""
    first = connect(run_id, 0, 1, replace(ANALYTIC, target_kl=0.3), options=PATIENT)
    _train(first, range(2))
    controller = get_or_create(run_id, replace(ANALYTIC, target_kl=0.3), 1, NAMESPACE)
    second_id = f"{run_id}-second"
    restart = (second_id, ANALYTIC, 1, RoundPolicy())
    ray.get([controller.restart.remote(*restart) for _ in range(2)])  # the second call does nothing
    second = connect(second_id, 0, 1, ANALYTIC, options=PATIENT, actor_name=run_id)
    seen = _train(second, range(5))
    ray.kill(controller, no_restart=False)
    seen += _train(second, range(5, 10))
    states = hand_loop(ANALYTIC, [0], 10)
    assert seen == [states[step].coefficients(step) for step in range(10)]
    assert ray.get(controller.describe.remote()).run_id == second_id
    first.report(2, measured(0, 2))
    with pytest.raises(ControllerUnavailableError):
        first._transport.result(first._pending[2].handle, 30.0)


def _train(client: ControllerClient, steps: range) -> list[Coefficients]:
    seen = []
    for step in steps:
        seen.append(client.coefficients(step))
        client.report(step, measured(client.rank, step))
    return seen


def test_a_refusal_crosses_as_our_own_error_and_pickles(ray_cluster: None, run_id: str) -> None:
    """Ray's wrapper class does not pickle, and a collective reduction has to share the error with all ranks."""
    client = connect(run_id, 0, 1, ANALYTIC, options=PATIENT)
    client.report(7, measured(0, 7))
    with pytest.raises(InvalidReportError) as refused:
        client.coefficients(8)
    assert type(refused.value) is InvalidReportError
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)


class Mortal:
    """One of four ranks, in a process of its own that can be killed or stopped; it joins one run after the other."""

    def join(self, run_id: str, rank: int, policy: RoundPolicy) -> int:
        """Its process."""
        self.client = connect(run_id, rank, 4, ANALYTIC, options=replace(PATIENT, rounds=policy))
        return os.getpid()

    def train(self, start: int, stop: int) -> list[Coefficients]:
        return _train(self.client, range(start, stop))

    def ask(self, step: int) -> Coefficients:
        return self.client.coefficients(step)


def new_mortal() -> Any:
    return ray.remote(Mortal).options(num_cpus=0).remote()


@pytest.fixture(scope="module")
def mortals(ray_cluster: None) -> Iterator[list[Any]]:
    """Processes that load all libraries once; who gives one up puts another in its place."""
    processes = [new_mortal() for _ in range(4)]
    yield processes
    for process in processes:
        ray.kill(process)


class Group(NamedTuple):
    """A controller and four ranks that have trained three steps, one of which is to be gone."""

    controller: Any
    ranks: list[Any]
    victim: int
    pid: int


@contextmanager
def mortal_group(run_id: str, policy: RoundPolicy, victim: int, mortals: list[Any]) -> Iterator[Group]:
    controller = get_or_create(run_id, ANALYTIC, 4, NAMESPACE, policy=policy)  # held here: no rank takes it along
    joining = [mortal.join.remote(run_id, rank, policy) for rank, mortal in enumerate(mortals)]
    pids = ray.get(joining, timeout=120)  # all are up before the first round's time runs
    ray.get([mortal.train.remote(0, 3) for mortal in mortals], timeout=120)
    try:
        yield Group(controller, list(mortals), victim, pids[victim])
    finally:
        ray.kill(mortals[victim])
        mortals[victim] = new_mortal()


@pytest.mark.slow
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_quorum_goes_on_together_when_a_rank_is_gone(
    mortals: list[Any], run_id: str, fault: signal.Signals
) -> None:
    policy = RoundPolicy("quorum", timeout_s=5.0, quorum_fraction=0.75)
    with mortal_group(run_id, policy, 2, mortals) as (controller, ranks, victim, pid):
        os.kill(pid, fault)
        rest = [ranks[rank] for rank in (0, 1, 3)]
        seen = ray.get([rank.train.remote(3, 20) for rank in rest], timeout=120)
        ray.get([rank.ask.remote(20) for rank in rest], timeout=120)
        assert seen[0] == seen[1] == seen[2]
        assert len({coefficients.tau for coefficients in seen[0]}) > 10  # the controller moved on
        counters = ray.get(controller.counters.remote())
        assert counters["quorum_rounds"] >= 16
        if fault == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)  # late, it gets what the others trained with, and changes nothing
            state = ray.get(controller.state.remote())
            late = ray.get(ranks[victim].train.remote(3, 6), timeout=120)
            assert late == seen[0][:3]
            assert ray.get(controller.state.remote()) == state
            assert ray.get(controller.counters.remote())["late"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_waiting_ends_with_the_name_of_the_missing_rank(
    mortals: list[Any], run_id: str, fault: signal.Signals
) -> None:
    with mortal_group(run_id, RoundPolicy(timeout_s=5.0), 1, mortals) as (controller, ranks, victim, pid):
        os.kill(pid, fault)
        rest = [ranks[rank] for rank in (0, 2, 3)]
        for rank in [rank.train.remote(3, 5) for rank in rest]:
            with pytest.raises(RoundTimeoutError, match="no report from rank 1 of 4"):
                ray.get(rank, timeout=120)
        assert ray.get(controller.state.remote())["version"] == 3  # nothing was decided without it
        if fault == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
            awake = ranks[victim].train.remote(3, 4)
            after = ray.get([rank.ask.remote(4) for rank in rest], timeout=120)
            ray.get(awake, timeout=120)
            assert after == [hand_loop(ANALYTIC, range(4), 4)[-1].coefficients(4)] * 3


@pytest.mark.slow
def test_twenty_runs_leave_no_actor_behind(ray_cluster: None, run_id: str) -> None:
    names = [f"{run_id}-{number}" for number in range(20)]
    for name in names:
        client = connect(name, 0, 1, ANALYTIC, options=PATIENT)
        _train(client, range(2))
        client.state_dict()
        client.close()
    wait_until(lambda: not [actor for actor in _controllers() if any(name in actor for name in names)])


@pytest.mark.parametrize("size", [1, 3])
def test_a_worker_group_of_another_size_goes_on_from_a_checkpoint(ray_cluster: None, run_id: str, size: int) -> None:
    """The same controller, which outlived the group: first 2 ranks, then ``size``, then again, after it was killed."""
    controller = get_or_create(run_id, ANALYTIC, 2, NAMESPACE)
    checkpoint = _train_group(run_id, 2, range(3), None)
    _train_group(run_id, 2, range(3, 5), checkpoint)  # goes under; the checkpoint is of before
    state = ControllerState.from_dict(checkpoint["state"])
    for _ in range(2):
        after = _train_group(run_id, size, range(3, 6), checkpoint)["state"]
        expected = state
        for step in range(3, 6):
            shards = [measured(rank, step) for rank in range(size)]
            expected = Controller(ANALYTIC).step(expected, merge_all(shards))[0]
        assert ControllerState.from_dict(after) == expected
        os.kill(_pid(controller), signal.SIGKILL)


def _train_group(run_id: str, size: int, steps: range, checkpoint: dict[str, Any] | None) -> dict[str, Any]:
    """All ranks as threads; the state of rank 0 at the end."""
    clients = [connect(run_id, rank, size, ANALYTIC, options=PATIENT) for rank in range(size)]
    if checkpoint is not None:
        for client in clients:
            client.load_state_dict(checkpoint)
    with ThreadPoolExecutor(size) as pool:
        list(pool.map(lambda client: _train(client, steps), clients, timeout=60))
        first, *_ = pool.map(lambda client: client.state_dict(), clients, timeout=60)
    return first


def test_an_actor_that_hangs_is_out_of_reach(ray_cluster: None, run_id: str) -> None:
    """It is stopped, not dead: nothing tells but its silence. When it goes on, so does the run."""
    client = connect(run_id, 0, 1, ANALYTIC, options=PATIENT)
    client.options = replace(PATIENT, timeout_s=1.0, retries=1, backoff_s=0.0)
    _train(client, range(2))
    process = _pid(get_or_create(run_id, ANALYTIC, 1, NAMESPACE))
    os.kill(process, signal.SIGSTOP)
    try:
        held = client.coefficients(2)
        client.report(2, measured(0, 2))
        assert client.coefficients(3).tau == held.tau
        assert client.counters()["held_steps"] >= 1
    finally:
        os.kill(process, signal.SIGCONT)
    seen = _train(client, range(3, 8))
    assert seen[-1].tau != held.tau
    assert seen[-1].version == 7


def _pid(actor: Any) -> int:
    pid: int = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))
    return pid


def _controllers() -> list[str]:
    named = ray.util.list_named_actors(all_namespaces=True)
    return [str(entry["name"]) for entry in named if entry["namespace"] == NAMESPACE]
