"""Logged signals and the controller's decisions as Ray metrics (``ray_maxent_*`` in Prometheus)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

from maxent_ray.core import signals
from maxent_ray.core.signals import LoggedSignal
from maxent_ray.runtime.reduction import PARTIAL, UNUSABLE
from maxent_ray.telemetry import Telemetry, ascii_label

EVENTS = {
    "fallback": ("fallbacks", "Updates of truncated backprop that were made with analytic gradients"),
    UNUSABLE: ("unusable", "Rounds that moved nothing because a rank's measurements could not be used"),
    PARTIAL: ("partial_gradients", "Rounds whose gradients some ranks lacked, and that went without"),
}
"""Beginning of an event → counter ``maxent_<counter>`` and its help text."""


class SignalGauges:
    """Gauges ``maxent_<name>`` of the signals that one kind of process exports.

    Args:
        exporter: The kind of process, as :attr:`~maxent_ray.core.signals.LoggedSignal.exporter` names it.
        tags: Of all values, encoded.
    """

    def __init__(self, exporter: str, tags: dict[str, str]) -> None:
        self._tags = tags
        self._gauges = {
            signal.name: Gauge(f"maxent_{signal.name}", _help(signal), tuple(tags))
            for signal in signals.SIGNALS
            if signal.exporter == exporter
        }

    def publish(self, values: Mapping[str, Any]) -> None:
        """Set all gauges; a value that is None or not finite leaves its gauge as it is."""
        for name, gauge in self._gauges.items():
            value = values[name]
            if value is not None and math.isfinite(value):
                gauge.set(value, self._tags)


class RankMetrics:
    """Metrics of one rank's steps: gauges with the tags ``run_id``, ``objective`` and ``rank``."""

    def __init__(self, run_id: str, objective: str, rank: int) -> None:
        self._tags = encode_tags(run_id=run_id, objective=objective, rank=str(rank))
        self._gauges: SignalGauges | None = None
        self._telemetry = Telemetry("a step's metrics cannot be exported; training continues")

    @property
    def failures(self) -> int:
        """Steps whose signals could not be published."""
        return self._telemetry.failures

    def publish(self, values: Mapping[str, Any]) -> None:
        """Publish the signals of a step; a failure is logged once and counted, and stops nothing."""
        with self._telemetry.attempt():
            self._gauges = self._gauges or SignalGauges("rank", self._tags)
            self._gauges.publish(values)


class ControllerMetrics:
    """Metrics of one run's decisions, with the tags ``run_id`` and ``objective``."""

    def __init__(self, run_id: str, objective: str) -> None:
        self._tags = encode_tags(run_id=run_id, objective=objective)
        keys = tuple(self._tags)
        self._gauges = SignalGauges("decision", self._tags)
        self._events = {event: Counter(f"maxent_{name}", text, keys) for event, (name, text) in EVENTS.items()}
        self._decisions = Counter("maxent_decisions", "Decisions by reason", (*keys, "reason"))
        self._locally = Counter("maxent_decided_locally", "Rounds decided by rank 0, without the actor", keys)
        self._alarms = Counter("maxent_alarms", "Coefficients that had no effect", (*keys, "kind", "coefficient"))
        self._locally_before = 0

    def publish(self, decision: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Publish one decision.

        Args:
            decision: ``Decision.to_dict()``.
            told: By rank 0 with its request: ``decided_locally`` from the start of the run, and ``alarms`` since the
                request before, each a kind and a coefficient.
        """
        self._gauges.publish(decision)
        self._decisions.inc(tags={**self._tags, **encode_tags(reason=decision["reason"])})
        for event, counter in self._events.items():
            if any(each.startswith(event) for each in decision["events"]):
                counter.inc(tags=self._tags)
        for kind, coefficient in told.get("alarms", ()):
            self._alarms.inc(tags={**self._tags, **encode_tags(kind=kind, coefficient=coefficient)})
        locally = told.get("decided_locally", 0)
        if locally > self._locally_before:
            self._locally.inc(locally - self._locally_before, self._tags)
            self._locally_before = locally


def encode_tags(**tags: str) -> dict[str, str]:
    """Tags with values that Ray's metrics take."""
    return {key: ascii_label(value) for key, value in tags.items()}


def _help(signal: LoggedSignal) -> str:
    return ascii_label(f"{signal.description} ({signal.unit})" if signal.unit else signal.description)
