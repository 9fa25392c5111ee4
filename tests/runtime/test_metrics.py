"""Decisions of a real actor, read from the endpoint that Prometheus scrapes."""

from __future__ import annotations

import time
import urllib.request

import pytest
import ray

from maxent_ray.runtime.connecting import connect
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
