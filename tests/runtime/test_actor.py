"""A real actor that is killed, stopped, or gone for good: every coefficient stays that of a bare loop."""

from __future__ import annotations

import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import ray

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives import CustomObjective
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import CustomRule
from maxent_ray.errors import ControllerUnavailableError
from maxent_ray.runtime.actor import create_controller
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.connect import NAMESPACE, connect
from maxent_ray.runtime.options import ClientOptions
from tests.runtime.support import ANALYTIC, expected, hand_loop, measured, train

pytestmark = pytest.mark.ray

TIMEOUT_S = 2.0


def connected(run_id: str, lag: int = 0, **options: Any) -> ControllerClient:
    return connect(run_id, 0, 1, ANALYTIC, options=ClientOptions(lag=lag, timeout_s=TIMEOUT_S, **options))


def actor_of(client: ControllerClient) -> Any:
    return ray.get_actor(f"maxent-controller-{client.run_id}", NAMESPACE)


def pid_of(actor: Any) -> int:
    pid: int = ray.get(actor.__ray_call__.remote(lambda self: os.getpid()))
    return pid


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that is there and does not answer, as one behind a cut line."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("lag", [0, 1])
def test_killed_in_the_middle_nothing_differs_and_it_is_used_again(ray_cluster: None, run_id: str, lag: int) -> None:
    client = connected(run_id, lag)
    seen = train(client, range(5))
    os.kill(pid_of(actor_of(client)), signal.SIGKILL)
    seen += train(client, range(5, 15))
    assert client.counters()["decided_locally"] > 0
    wait_until(lambda: is_asked(client, seen), "it is not used again")
    assert seen == expected(1, len(seen), lag)
    client.close()


def test_an_answer_that_came_during_a_long_step_is_taken(ray_cluster: None, run_id: str) -> None:
    client = connected(run_id, lag=1)
    seen = train(client, range(3))
    time.sleep(TIMEOUT_S + 0.5)
    seen += train(client, range(3, 6))
    assert seen == expected(1, 6, 1)
    assert client.counters() == {"decided_locally": 0}
    client.close()


def test_an_objective_and_a_rule_by_import_path_are_imported_in_the_actor(ray_cluster: None, run_id: str) -> None:
    """The same decisions as in this process, and the objective's memory comes back with the state."""
    config = ControllerConfig(
        group_size=8,
        target_entropy=1.5,
        objective=CustomObjective(import_path="tests.core.objectives.test_own_objective:Averaged"),
        tau_rule=CustomRule(import_path="maxent_ray.core.update_rules:sgd", kwargs={"learning_rate": 0.1}),
    )
    options = ClientOptions(lag=0, timeout_s=30.0)
    remote = connect(run_id, 0, 1, config, options=options)
    local = connect(run_id, 0, 1, config, options=options, local=True)
    for client in (remote, local):
        train(client, range(4))
    assert remote.counters() == {"decided_locally": 0}
    assert remote.state_dict() == local.state_dict()
    assert remote.state_dict()["state"]["objective"]["averaged"]["updates"] == 3  # the fourth round is pending
    remote.close()


@pytest.mark.slow
def test_a_partition_costs_one_wait_and_then_none(
    ray_cluster: None, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, actor = connected(run_id), None
    seen = train(client, range(3))
    actor = actor_of(client)
    with stopped(pid_of(actor)):
        began = time.monotonic()
        seen += train(client, range(3, 5))
        first = time.monotonic() - began
        began = time.monotonic()
        seen += train(client, range(5, 25))
        others = time.monotonic() - began
    assert TIMEOUT_S <= first < TIMEOUT_S + 1
    assert others < TIMEOUT_S / 2
    (record,) = caplog.records
    assert record.getMessage() == (
        f"run {run_id!r}: the controller cannot be reached (no answer in 2 s); until it can be reached, rank 0 "
        "decides, with the same result"
    )
    ray.get(actor.ping.remote(), timeout=30)  # what it had missed is answered by now
    seen += train(client, range(25, 30))
    assert seen == expected(1, 30, 0)
    assert 20 <= client.counters()["decided_locally"] <= 23
    client.close()


def test_gone_for_good_it_is_made_anew(ray_cluster: None, run_id: str) -> None:
    client = connected(run_id)
    seen, former = train(client, range(3)), actor_of(client)
    ray.kill(former)
    seen += train(client, range(3, 6))
    wait_until(lambda: is_asked(client, seen), "no new actor")
    assert actor_of(client)._actor_id != former._actor_id
    assert seen == expected(1, len(seen), 0)
    client.close()


def is_asked(client: ControllerClient, seen: list[Any]) -> bool:
    """True when the actor decided all of three more steps."""
    before = client.counters()
    seen += train(client, range(len(seen), len(seen) + 3))
    client.wait_for_decision()
    return client.counters() == before


def spoil(self: Any) -> None:
    from maxent_ray.runtime import actor

    def fail(request: str) -> str:
        raise ValueError("another version")

    actor.decide = fail


def test_an_actor_that_raises_is_no_reason_to_stop_or_to_make_another(
    ray_cluster: None, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = connected(run_id)
    seen = train(client, range(2))
    ray.get(actor_of(client).__ray_call__.remote(spoil))
    seen += train(client, range(2, 8))
    assert seen == expected(1, 8, 0)
    assert client.counters() == {"decided_locally": 5}
    assert ours(run_id) == [f"maxent-controller-{run_id}"]
    (record,) = caplog.records
    assert "cannot be reached (ValueError: another version)" in record.getMessage()
    client.close()


def test_told_to_raise_it_raises_until_the_actor_is_back(ray_cluster: None, run_id: str) -> None:
    client = connected(run_id, when_unreachable="raise")
    train(client, range(2))
    with stopped(pid_of(actor_of(client))):
        client.coefficients(2)
        client.report(2, measured(0, 2))
        with pytest.raises(ControllerUnavailableError, match=r"cannot be reached \(no answer in 2 s\)"):
            client.coefficients(3)
        with pytest.raises(ControllerUnavailableError):
            client.coefficients(3)
    assert client.counters()["decided_locally"] == 0

    def answered() -> bool:
        try:
            return client.coefficients(3) == hand_loop(ANALYTIC, 1, 3)[3].coefficients(3)
        except ControllerUnavailableError:
            return False

    wait_until(answered, "it is back and not asked")
    client.close()


def test_the_actor_remembers_nothing_that_a_decision_depends_on(ray_cluster: None, run_id: str) -> None:
    """One actor, two runs with other settings, steps in turn; and one of them goes back to an earlier state."""
    actor, _ = create_controller(run_id, NAMESPACE)
    other = replace(ANALYTIC, target_kl=0.3)
    options = ClientOptions(lag=0)
    one = connect(f"{run_id}-1", 0, 1, ANALYTIC, options=options, actor=actor)
    two = connect(f"{run_id}-2", 0, 1, other, options=options, actor=actor)
    for step in range(5):
        train(one, range(step, step + 1))
        train(two, range(step, step + 1))
    saved = one.state_dict()
    assert train(one, range(5, 10)) == expected(1, 10, 0)[5:]
    one.load_state_dict(saved)
    assert train(one, range(5, 10)) == expected(1, 10, 0)[5:]
    assert train(two, range(5, 10)) == expected(1, 10, 0, other)[5:]


@pytest.mark.slow
def test_twenty_runs_leave_no_actor(ray_cluster: None, run_id: str) -> None:
    for number in range(20):
        client = connected(f"{run_id}-{number}")
        train(client, range(2))
        client.coefficients(2)
        client.close()
    assert not [each for each in ours(run_id) if wait_gone(each)]


def ours(run_id: str) -> list[str]:
    return [each["name"] for each in ray.util.list_named_actors(all_namespaces=True) if run_id in each["name"]]


def wait_gone(name: str) -> bool:
    wait_until(lambda: name not in ours(name), f"{name} is still there")
    return name in ours(name)


# --- names ---


def test_a_name_that_is_taken_is_made_unique_and_said(
    ray_cluster: None, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = connected(run_id), connected(run_id)
    assert (first.run_id, second.run_id) == (run_id, f"{run_id}-2")
    assert [record.getMessage() for record in caplog.records] == [
        f"run {run_id!r}: a live run of this cluster has that name; this one is called '{run_id}-2'"
    ]
    for step in range(5):
        first.coefficients(step), second.coefficients(step)
        first.report(step, BatchStatistics(groups=1, weight_entropy_sum=1.5, tokens=1, policy_kl_sum=0.5))
        second.report(step, BatchStatistics(groups=1, weight_entropy_sum=1.5, tokens=1, policy_kl_sum=0.005))
    assert first.coefficients(5).beta > ANALYTIC.beta > second.coefficients(5).beta
    assert {decision["kl"] for decision in first.decisions()} == {0.5}
    actor = actor_of(second)
    wait_until(lambda: len(ray.get(actor.decisions.remote())) == 5, "the decisions of its own actor")
    assert {decision["kl"] for decision in ray.get(actor.decisions.remote())} == {0.005}
    for client in (first, second):
        client.close()


# --- metrics ---


def read_metrics(run_id: str) -> dict[str, float]:
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    values: dict[str, float] = {}
    for line in (each for each in lines if each.startswith("ray_maxent_") and f'run="{run_id}"' in each):
        assert 'objective="analytic"' in line
        name = line.split("{")[0]
        values[name] = values.get(name, 0.0) + float(line.rsplit(" ", 1)[1])
    return values


@pytest.mark.slow
def test_decisions_and_what_rank_0_tells_become_metrics(ray_cluster: None, run_id: str) -> None:
    """β is held at its bound by a KL four times its target: one alarm. One round's numbers cannot be used."""
    config = replace(ANALYTIC, target_kl=0.05, beta=0.1, beta_max=0.2, saturation_patience=8)
    client = connect(run_id, 0, 1, config, options=ClientOptions(lag=0, timeout_s=30.0))
    high = BatchStatistics(groups=1, weight_entropy_sum=1.4, tokens=1, policy_kl_sum=0.2)
    for step in range(40):
        client.coefficients(step)
        try:
            client.report(step, high if step != 20 else replace(high, policy_kl_sum=float("nan")))
        except ValueError:
            assert step == 20
    last = client.coefficients(40)
    wait_until(lambda: read_metrics(run_id).get("ray_maxent_coefficients_version") == 40.0, "no metrics")
    values = read_metrics(run_id)
    assert (values["ray_maxent_tau"], values["ray_maxent_beta"]) == (last.tau, last.beta)
    assert (values["ray_maxent_entropy_nats"], values["ray_maxent_target_entropy_nats"]) == (1.4, 1.5)
    assert (values["ray_maxent_kl_nats"], values["ray_maxent_target_kl_nats"]) == (0.2, 0.05)
    assert values["ray_maxent_entropy_error_ratio"] == pytest.approx(-0.1 / 1.5)
    assert values["ray_maxent_kl_error_ratio"] == pytest.approx(3.0)
    assert values["ray_maxent_tau_gradient"] < 0 < values["ray_maxent_beta_gradient"]
    assert (values["ray_maxent_rounds_total"], values["ray_maxent_alarms_total"]) == (40, 1)
    events = [event for decision in client.decisions() for event in decision["events"]]
    assert values["ray_maxent_events_total"] == len(events)
    client.close()


def test_a_metric_that_fails_stops_nothing(ray_cluster: None, run_id: str) -> None:
    """Prometheus' tags are ASCII."""
    client = connected(f"{run_id}-ü")
    assert train(client, range(5)) == expected(1, 5, 0)
    client.coefficients(5)
    actor = actor_of(client)
    wait_until(lambda: len(ray.get(actor.decisions.remote())) == 5, "decisions are not logged")
    client.close()
