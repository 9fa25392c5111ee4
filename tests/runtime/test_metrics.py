"""Metrics of a run arrive at Prometheus under its tags, and a metric that fails stops nothing."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import unquote

import pytest
import ray

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.signals import SIGNALS
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.runtime import kept_gauges
from maxent_ray.runtime.metric_table import EVENTS, RUN_TAGS, exported_metrics
from maxent_ray.runtime.metrics import ActorMetrics, ControllerMetrics, RankMetrics, RunMetrics, decision_gauges
from maxent_ray.runtime.run_tags import RunTags
from maxent_ray.telemetry import ascii_label
from tests.runtime.test_actor import read_metrics, wait_until
from tests.train.tiny import start, tiny_config

CONFIG = ControllerConfig(group_size=8, target_entropy=1.9)
VALUES = {signal.name: 0.5 for signal in SIGNALS}
TAGS = RunTags("run", "run", "analytic")


def tags_of(run_id: str) -> RunTags:
    return RunTags(run_id, "analytic-0", "analytic")


def decision() -> dict[str, Any]:
    batch = BatchStatistics(groups=1, weight_entropy_sum=2.0)
    return Controller(CONFIG).step(Controller(CONFIG).init(), batch)[1].to_dict()


# --- the table ---


def test_names_are_as_prometheus_wants_them() -> None:
    names = [each.name for each in exported_metrics()]
    assert len(set(names)) == len(names)
    for each in exported_metrics():
        assert each.name.startswith("maxent_") and each.name.replace("_", "a").isalnum() and each.name.islower()
        assert not each.name.endswith(("_total", "_count", "_sum", "_bucket", "_s", "_ms"))
        assert each.in_prometheus.endswith("_total") == (each.kind == "counter")
        assert each.kind != "histogram" or each.name.endswith("_seconds")
        assert each.text.isascii() and each.text[0].isupper() and each.keys[:3] == RUN_TAGS


def test_all_that_the_issue_of_watching_names_is_there() -> None:
    names = {each.name.removeprefix("maxent_") for each in exported_metrics()}
    assert names >= {
        "tau", "beta", "entropy_nats", "target_entropy_nats", "kl_nats", "target_kl_nats", "entropy_error_ratio",
        "kl_error_ratio", "tau_gradient", "beta_gradient", "events", "rounds", "rounds_decided_locally", "alarms",
        "round_seconds", "hypergradient_seconds", "reward", "held_out_reward", "held_out_pass_ratio",
        "held_out_distinct_modes", "held_out_coverage_ratio", "clones",
    }  # fmt: skip


# --- what arrives ---


@pytest.mark.ray
def test_a_ranks_signals_become_metrics_and_unknown_values_leave_them(ray_cluster: None, run_id: str) -> None:
    metrics = RankMetrics(tags_of(run_id), 0)
    metrics.publish({**VALUES, "loss": 0.25, "gradient_norm": 2.0, "seconds_hypergradient": 0.0})
    metrics.publish({**VALUES, "loss": float("nan"), "gradient_norm": None})
    wait_until(lambda: "ray_maxent_loss" in read_metrics(run_id), "no metrics")
    values = read_metrics(run_id)
    assert (values["ray_maxent_loss"], values["ray_maxent_gradient_norm"]) == (0.25, 2.0)
    assert values["ray_maxent_reward"] == 0.5
    assert values["ray_maxent_round_seconds_count"] == 2
    assert values["ray_maxent_hypergradient_seconds_count"] == 1  # a step without an unroll is left out
    assert "ray_maxent_tau" not in values  # the controller's actor exports that
    metrics.close()


@pytest.mark.ray
def test_names_in_any_script_are_exported_apart(ray_cluster: None, run_id: str) -> None:
    for name, value in (("ü", 0.25), ("ö", 0.75), ("%C3%BC", 0.5)):
        RankMetrics(tags_of(f"{run_id}-{name}"), 0).publish({**VALUES, "loss": value})

    def losses() -> list[float | None]:
        labels = (f"{run_id}-{label}" for label in ("%C3%BC", "%C3%B6", "%25C3%25BC"))
        return [read_metrics(label).get("ray_maxent_loss") for label in labels]

    wait_until(lambda: losses() == [0.25, 0.75, 0.5], "no metrics")


@pytest.mark.ray
def test_decisions_of_a_run_in_any_script_are_exported(ray_cluster: None, run_id: str) -> None:
    """Ray's own check of a tag's value runs in this process."""
    told = {"decided_locally": 1, "alarms": [("bound", "τ")]}
    odd = RunTags(f"{run_id}-日本", "trial\n0", "mödule:Öwn")
    events = {"events": ("tau.clipped", "tau.clipped", "überlauf")}
    ControllerMetrics(odd, decision_gauges()).publish({**decision(), **events}, told)


@pytest.mark.ray
def test_results_and_clones_are_exported(ray_cluster: None, run_id: str) -> None:
    metrics = RunMetrics(run_id)
    metrics.clone("analytic-0", "analytic")
    metrics.clone("analytic-0", "analytic")
    metrics.held_out("analytic-0", "analytic", {"mean": 0.25, "pass_rate": 0.5, "distinct": 1.5, "coverage": None})
    wait_until(lambda: "ray_maxent_held_out_reward" in read_metrics(run_id), "no metrics")
    assert read_metrics(run_id) == {
        "ray_maxent_clones_total": 2.0,
        "ray_maxent_held_out_reward": 0.25,
        "ray_maxent_held_out_pass_ratio": 0.5,
        "ray_maxent_held_out_distinct_modes": 1.5,
    }
    metrics.close()


@ray.remote(num_cpus=0)
class Exporter:
    """A process that exports one rank's gauges."""

    def publish(self, tags: RunTags) -> None:
        self.metrics = RankMetrics(tags, 0)
        self.metrics.publish(VALUES)

    def close(self) -> None:
        self.metrics.close()


@pytest.mark.slow
def test_a_gauge_stays_until_its_run_ends(ray_cluster: None, run_id: str) -> None:
    """Ray drops a gauge that is not set again within 20 s."""
    exporter = Exporter.remote()
    ray.get(exporter.publish.remote(tags_of(run_id)))
    wait_until(lambda: "ray_maxent_loss" in read_metrics(run_id), "no metrics")
    for _ in range(35):
        time.sleep(1.0)
        assert read_metrics(run_id)["ray_maxent_loss"] == 0.5
    ray.get(exporter.close.remote())
    wait_until(lambda: "ray_maxent_loss" not in read_metrics(run_id), "the gauge of a run that has ended", 60.0)


def test_cleared_values_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recording:
        def __init__(self, *of: Any) -> None: ...

        def set(self, value: float, tags: dict[str, str]) -> None:
            told.append((tags["run"], value))

    told: list[tuple[str, float]] = []
    monkeypatch.setattr(kept_gauges, "Gauge", Recording)
    monkeypatch.setattr(kept_gauges, "REPEAT_S", 0.02)
    gauges = kept_gauges.KeptGauges([each for each in exported_metrics() if each.name == "maxent_tau"])
    gauges.set({"maxent_tau": 0.25}, replace(TAGS, run="first").encoded())
    wait_until(lambda: told.count(("first", 0.25)) > 3, "the first run's value is not repeated")
    gauges.clear()
    gauges.set({"maxent_tau": 0.5}, replace(TAGS, run="second").encoded())
    del told[:]
    wait_until(lambda: told.count(("second", 0.5)) > 3, "the second run's value is not repeated")
    assert {run for run, _ in told} == {"second"}
    gauges.close()


def test_an_actor_counts_local_rounds_of_each_of_its_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that goes on after a clone has a new client, whose count begins again, under the same tags."""
    counted: list[float] = []

    class Recording:
        def __init__(self, name: str, *of: Any) -> None:
            self.name = name

        def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
            if self.name == "maxent_rounds_decided_locally":
                counted.append(value)

    monkeypatch.setattr("maxent_ray.runtime.metrics.Counter", Recording)
    metrics = ActorMetrics()
    for run_id, locally in (("a", 2), ("a", 3), ("b", 1), ("b", 1), ("a", 3)):
        metrics.publish(decision(), {"run_id": run_id, "tags": asdict(TAGS), "decided_locally": locally})
    assert counted == [2, 1, 1]


# --- tags ---


@pytest.mark.parametrize("text", ["", "plain-0", "ü", "%C3%BC", "\\xfc", "a\nb", "\x00", "\ud800", "日本 🎲"])
def test_a_label_is_ascii_and_has_its_text_back(text: str) -> None:
    label = ascii_label(text)
    assert label.isascii() and label.isprintable()
    assert unquote(label, errors="surrogatepass") == text


def test_events_have_a_bounded_number_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recording:
        def __init__(self, name: str, *of: Any) -> None:
            self.name = name

        def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
            told.append((self.name, (tags or {}).get("event")))

    told: list[tuple[str, str | None]] = []
    monkeypatch.setattr("maxent_ray.runtime.metrics.Counter", Recording)
    events = ("unusable: rank 0, step 3: reward_sum is nan", "beta.projected_low", "tau.mine 0.1", "tau.mine 2")
    ControllerMetrics(TAGS, decision_gauges()).publish({**decision(), "events": events}, {})
    found = sorted(event for name, event in told if name == "maxent_events" and event)
    assert found == ["beta.projected_low", "other", "unusable"]
    assert set(found) <= set(EVENTS)


# --- failures ---


def test_a_failure_is_logged_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    metrics = RankMetrics(TAGS, 0)
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

    monkeypatch.setattr(kept_gauges, "Gauge", broken)
    metrics = RankMetrics(TAGS, 0)
    metrics.publish(VALUES)
    assert metrics.failures == 1
    RunMetrics("run").held_out("trial", "analytic", {"mean": 0.5})


def test_rows_count_the_steps_that_were_not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    process = start(tiny_config())
    metrics = RankMetrics(TAGS, 0)
    monkeypatch.setattr(process, "_metrics", metrics)
    monkeypatch.setattr("maxent_ray.runtime.metrics.KeptGauges", None)
    assert [record.failed_exports for record in process.run(3)] == [1, 2, 3]
