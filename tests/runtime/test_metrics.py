"""Decisions of a real actor, read from the endpoint that Prometheus scrapes."""

from __future__ import annotations

import time
import urllib.request
from dataclasses import replace

import pytest
import ray

from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.runtime.connecting import connect
from maxent_ray.runtime.metrics import ControllerMetrics
from maxent_ray.runtime.options import ClientOptions
from tests.runtime.support import ANALYTIC, measured

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def read_metrics(run_id: str) -> dict[str, float]:
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    ours = [line for line in lines if line.startswith("ray_maxent_") and f'run_id="{run_id}"' in line]
    assert all('objective="analytic"' in line for line in ours)
    values: dict[str, float] = {}
    for line in ours:
        name = line.split("{")[0]
        values[name] = values.get(name, 0.0) + float(line.rsplit(" ", 1)[1])
    return values


def test_decisions_become_metrics_of_their_run(ray_cluster: None, run_id: str) -> None:
    client = connect(run_id, 0, 1, ANALYTIC, options=ClientOptions(lag=0, timeout_s=60.0))
    for step in range(5):
        client.coefficients(step)
        client.report(step, measured(0, step))
    last = client.coefficients(5)
    deadline = time.monotonic() + 60
    while (values := read_metrics(run_id)).get("ray_maxent_version") != 5.0:
        assert time.monotonic() < deadline, values
        time.sleep(0.5)
    assert values["ray_maxent_tau"] == last.tau
    assert values["ray_maxent_beta"] == last.beta
    assert values["ray_maxent_decisions_total"] == 5
    assert values["ray_maxent_entropy"] == measured(0, 4).mean("weight_entropy")
    assert values["ray_maxent_target_kl"] == ANALYTIC.target_kl


def test_alarms_and_what_happened_besides_deciding_are_counted(ray_cluster: None, run_id: str) -> None:
    """β is held at its bound by a KL four times its target: one alarm, after 8 + 11 updates or so."""
    config = replace(ANALYTIC, target_kl=0.05, beta=0.1, beta_max=0.2, saturation_patience=8)
    controller, metrics = Controller(config), ControllerMetrics(run_id, "analytic")
    state = controller.init()
    for _ in range(40):
        state, decision = controller.step(state, BatchStatistics(tokens=1, policy_kl_sum=0.2))
        metrics.publish(decision.to_dict())
    metrics.publish_counters({"late": 2, "duplicates": 3, "reasons": {"updated": 40}})
    metrics.publish_counters({"late": 2, "duplicates": 5})
    metrics.publish_counters({"late": 0, "duplicates": 5})  # a controller that lost its counts: they never fall
    deadline = time.monotonic() + 60
    seen = ("ray_maxent_decisions_total", "ray_maxent_alarms_total", "ray_maxent_late_total")
    while not all(name in (values := read_metrics(run_id)) for name in seen) or values[seen[0]] != 40:
        assert time.monotonic() < deadline, values  # metrics arrive in batches, in no order
        time.sleep(0.5)
    assert values["ray_maxent_alarms_total"] == 1
    assert (values["ray_maxent_late_total"], values["ray_maxent_duplicates_total"]) == (2, 5)
    assert "ray_maxent_rejected_total" not in values
