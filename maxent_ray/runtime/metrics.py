"""Signals, decisions and results of a run as Ray metrics (``ray_maxent_*`` in Prometheus)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Histogram

from maxent_ray.core import signals
from maxent_ray.core.answer_metrics import EXPORTED, METRICS
from maxent_ray.core.relative_errors import relative_error
from maxent_ray.runtime.kept_gauges import KeptGauges
from maxent_ray.runtime.metric_table import SECONDS, Metric, event_tag, exported_metrics, metric
from maxent_ray.runtime.run_tags import RunTags, encode_tags
from maxent_ray.telemetry import Telemetry


class RankMetrics:
    """Metrics of one rank's steps, with its rank as a tag."""

    def __init__(self, tags: RunTags, rank: int) -> None:
        self._tags = tags.encoded(rank=str(rank))
        self._exported: dict[str, Metric] = {}
        self._gauges: KeptGauges | None = None
        self._histograms: dict[str, Histogram] = {}
        self._telemetry = Telemetry("a step's metrics cannot be exported; training continues")

    @property
    def failures(self) -> int:
        """Steps whose signals could not be published."""
        return self._telemetry.failures

    def publish(self, values: Mapping[str, Any]) -> None:
        """Publish the signals of a step; a failure is logged once and counted, and stops nothing."""
        with self._telemetry.attempt():
            if self._gauges is None:
                self._histograms = {name: _histogram(each) for name, each in _of("rank", "histogram").items()}
                self._exported = _of("rank", "gauge")
                self._gauges = KeptGauges(list(self._exported.values()))
            self._gauges.set({each.name: values[name] for name, each in self._exported.items()}, self._tags)
            for name, histogram in self._histograms.items():
                if (values[name] or 0.0) > 0.0:
                    histogram.observe(values[name], self._tags)

    def close(self) -> None:
        """End the run: its gauges disappear."""
        if self._gauges is not None:
            self._gauges.close()


class ControllerMetrics:
    """Metrics of one run's decisions.

    Args:
        tags: The run.
        gauges: :func:`decision_gauges`, one for all runs of a process.
    """

    def __init__(self, tags: RunTags, gauges: KeptGauges) -> None:
        self._tags = tags.encoded()
        self._gauges = gauges
        self._exported = _of("decision", "gauge")
        self._rounds = _counter("rounds")
        self._events = _counter("events")
        self._alarms = _counter("alarms")
        self._locally = _counter("rounds_decided_locally")
        self._locally_before = 0

    def publish(self, decision: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Publish one decision.

        Args:
            decision: ``Decision.to_dict()``.
            told: By rank 0 with its request: ``decided_locally`` from the start of the run, and ``alarms`` since the
                request before, each a kind and a coefficient.
        """
        self._gauges.set(self._values(decision), self._tags)
        self._rounds.inc(tags=self._tagged(reason=decision["reason"]))
        for event in {event_tag(each) for each in decision["events"]}:
            self._events.inc(tags=self._tagged(event=event))
        for kind, coefficient in told.get("alarms", ()):
            self._alarms.inc(tags=self._tagged(kind=kind, coefficient=coefficient))
        locally = told.get("decided_locally", 0)
        if locally > self._locally_before:
            self._locally.inc(locally - self._locally_before, self._tags)
            self._locally_before = locally

    def _values(self, decision: Mapping[str, Any]) -> dict[str, float | None]:
        """Metric's name → its value in a decision."""
        return {
            **{each.name: decision[name] for name, each in self._exported.items()},
            "maxent_entropy_error_ratio": relative_error(
                decision["entropy"], decision["target_entropy"], decision["entropy_scale"]
            ),
            "maxent_kl_error_ratio": relative_error(
                decision["kl"], decision["target_kl"], decision["target_kl"]
            ),
            "maxent_tau_gradient": decision["tau_grad"],
            "maxent_beta_gradient": decision["beta_grad"],
        }

    def _tagged(self, **tags: str) -> dict[str, str]:
        return {**self._tags, **encode_tags(**tags)}


class ActorMetrics:
    """Metrics of an actor that serves several runs in turn: gauges of the newest one only are repeated."""

    def __init__(self) -> None:
        self._gauges = decision_gauges()
        self._runs: dict[str, ControllerMetrics] = {}
        self._newest = ""

    def publish(self, decision: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Publish one decision.

        Args:
            decision: ``Decision.to_dict()``.
            told: As for :meth:`ControllerMetrics.publish`, with ``run_id`` and ``tags`` of the run.
        """
        run = told["run_id"]
        if run != self._newest:
            self._gauges.clear()
            self._newest = run
        if run not in self._runs:
            self._runs[run] = ControllerMetrics(RunTags(**told["tags"]), self._gauges)
        self._runs[run].publish(decision, told)


class RunMetrics:
    """Results and clones of all trials of a run, from the process that records them; nothing of it starts before."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._gauges: KeptGauges | None = None
        self._telemetry = Telemetry("results and clones cannot be exported as metrics; training continues")

    def held_out(self, trial: str, objective: str, values: Mapping[str, Any]) -> None:
        """Publish held-out metrics.

        Args:
            trial: The trial.
            objective: Its objective at the time.
            values: ``HeldOutMetrics.to_dict()``.
        """
        with self._telemetry.attempt():
            names = {name: f"maxent_held_out_{EXPORTED[name]}" for name in METRICS}
            if self._gauges is None:
                self._gauges = KeptGauges([metric(f"held_out_{each}") for each in EXPORTED.values()], float("inf"))
            found = {names[name]: values.get(name) for name in METRICS}
            self._gauges.set(found, RunTags(self._run, trial, objective).encoded())

    def clone(self, trial: str, objective: str) -> None:
        """Count a clone.

        Args:
            trial: The recipient.
            objective: The objective that it trains from now on.
        """
        with self._telemetry.attempt():
            _counter("clones").inc(tags=RunTags(self._run, trial, objective).encoded())

    def close(self) -> None:
        """End the run: its gauges disappear."""
        if self._gauges is not None:
            self._gauges.close()


def decision_gauges() -> KeptGauges:
    """Gauges of the process that decides."""
    return KeptGauges([each for each in exported_metrics() if (each.exporter, each.kind) == ("decision", "gauge")])


def _of(exporter: str, kind: str) -> dict[str, Metric]:
    """Logged signal → its metric."""
    table = {each.name: each for each in exported_metrics()}
    exported = [signal for signal in signals.SIGNALS if signal.exporter == exporter]
    known = {signal.name: table[f"maxent_{signal.metric or signal.name}"] for signal in exported}
    return {name: each for name, each in known.items() if each.kind == kind}


def _counter(name: str) -> Counter:
    found = metric(name)
    return Counter(found.name, found.text, found.keys)


def _histogram(found: Metric) -> Histogram:
    return Histogram(found.name, found.text, list(SECONDS), found.keys)
