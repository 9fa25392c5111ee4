"""What ranks export arrives at Prometheus, and a metric that fails stops nothing."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import unquote

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.signals import SIGNALS
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.runtime.metrics import ControllerMetrics, RankMetrics
from maxent_ray.telemetry import ascii_label
from tests.runtime.test_actor import read_metrics, wait_until
from tests.train.tiny import start, tiny_config

CONFIG = ControllerConfig(group_size=8, target_entropy=1.9)
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


@pytest.mark.ray
def test_names_in_any_script_are_exported_apart(ray_cluster: None, run_id: str) -> None:
    for name, value in (("ü", 0.25), ("ö", 0.75), ("%C3%BC", 0.5)):
        RankMetrics(f"{run_id}-{name}", "analytic", 0).publish({**VALUES, "loss": value})

    def losses() -> list[float | None]:
        labels = (f"{run_id}-{label}" for label in ("%C3%BC", "%C3%B6", "%25C3%25BC"))
        return [read_metrics(label).get("ray_maxent_loss") for label in labels]

    wait_until(lambda: losses() == [0.25, 0.75, 0.5], "no metrics")


@pytest.mark.ray
def test_decisions_of_a_run_in_any_script_are_exported(ray_cluster: None, run_id: str) -> None:
    """Ray's own check of a tag's value runs in this process."""
    decision = Controller(CONFIG).step(Controller(CONFIG).init(), BatchStatistics(groups=1, weight_entropy_sum=2.0))[1]
    told = {"decided_locally": 1, "alarms": [("bound", "τ")]}
    ControllerMetrics(f"{run_id}-日本", "mödule:Öwn").publish(decision.to_dict(), told)


@pytest.mark.parametrize("text", ["", "plain-0", "ü", "%C3%BC", "\\xfc", "a\nb", "\x00", "\ud800", "日本 🎲"])
def test_a_label_is_ascii_and_has_its_text_back(text: str) -> None:
    label = ascii_label(text)
    assert label.isascii() and label.isprintable()
    assert unquote(label, errors="surrogatepass") == text


def test_a_failure_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    metrics = RankMetrics("run", "analytic", 0)
    with caplog.at_level(logging.WARNING):
        metrics.publish({})
        metrics.publish({})
    assert [record.message for record in caplog.records] == [
        "a step's metrics cannot be exported; training continues (KeyError: 'reward')"
    ]
    assert metrics.failures == 2


def test_a_gauge_that_cannot_be_made_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise OSError("no agent")

    monkeypatch.setattr("maxent_ray.runtime.metrics.Gauge", broken)
    metrics = RankMetrics("run", "analytic", 0)
    metrics.publish(VALUES)
    assert metrics.failures == 1


def test_rows_count_the_steps_that_were_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    process = start(tiny_config())
    metrics = RankMetrics("run", "analytic", 0)
    monkeypatch.setattr(process, "_metrics", metrics)
    monkeypatch.setattr(metrics, "_gauges", None)
    monkeypatch.setattr("maxent_ray.runtime.metrics.SignalGauges", None)
    assert [record.failed_exports for record in process.run(3)] == [1, 2, 3]
