"""What ranks export arrives at Prometheus, and a metric that fails stops nothing."""

from __future__ import annotations

import logging

import pytest

from maxent_ray.core.signals import SIGNALS
from maxent_ray.runtime.metrics import RankMetrics
from tests.runtime.test_actor import read_metrics, wait_until

VALUES = {signal.name: 0.5 for signal in SIGNALS}


@pytest.mark.ray
def test_a_ranks_signals_become_metrics_and_unknown_values_leave_them(ray_cluster: None, run_id: str) -> None:
    metrics = RankMetrics(run_id, "analytic", 0)
    metrics.publish({**VALUES, "loss": 0.25, "gradient_norm": 2.0})
    metrics.publish({**VALUES, "loss": float("nan"), "gradient_norm": None})
    wait_until(lambda: "ray_maxent_loss" in read_metrics(run_id), "no metrics")
    values = read_metrics(run_id)
    assert (values["ray_maxent_loss"], values["ray_maxent_gradient_norm"]) == (0.25, 2.0)
    assert values["ray_maxent_reward"] == 0.5
    assert "ray_maxent_tau" not in values  # the controller's actor exports that


def test_a_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics = RankMetrics("run", "analytic", 0)
    with caplog.at_level(logging.WARNING):
        metrics.publish({})
        metrics.publish({})
    assert [record.message for record in caplog.records] == [
        "a step's metrics cannot be exported; training continues"
    ]
