"""The controller's decisions as Ray metrics (``ray_maxent_*`` in Prometheus), tagged by run and objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

from maxent_ray.runtime.reduction import PARTIAL, UNUSABLE

GAUGES = {
    "tau": "Entropy temperature after the last decision",
    "beta": "KL coefficient after the last decision",
    "entropy": "Measured entropy in nats, of the declared signal",
    "kl": "Measured KL in nats, of the declared signal",
    "target_entropy": "Target entropy in nats",
    "target_kl": "Target KL in nats",
    "version": "Rounds decided",
    "tied_share": "Share of the groups whose rewards all tie",
}
"""Field of a decision → help text; the metric is ``maxent_<field>``."""
EVENTS = {
    "fallback": ("fallbacks", "Updates of truncated backprop that were made with analytic gradients"),
    UNUSABLE: ("unusable", "Rounds that moved nothing because a rank's measurements could not be used"),
    PARTIAL: ("partial_gradients", "Rounds whose gradients some ranks lacked, and that went without"),
}
"""Beginning of an event → counter ``maxent_<counter>`` and its help text."""


class ControllerMetrics:
    """Publishes the decisions of one run: ``run_id`` and ``objective`` are the values of their tags."""

    def __init__(self, run_id: str, objective: str) -> None:
        self._tags = {"run_id": run_id, "objective": objective}
        keys = tuple(self._tags)
        self._gauges = {name: Gauge(f"maxent_{name}", text, keys) for name, text in GAUGES.items()}
        self._events = {event: Counter(f"maxent_{name}", text, keys) for event, (name, text) in EVENTS.items()}
        self._decisions = Counter("maxent_decisions", "Decisions by reason", (*keys, "reason"))
        self._locally = Counter("maxent_decided_locally", "Rounds decided by rank 0, for want of the actor", keys)
        self._alarms = Counter("maxent_alarms", "Coefficients found to do nothing", (*keys, "kind", "coefficient"))
        self._locally_before = 0

    def publish(self, decision: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Publish one decision; fields that are None leave their gauge as it is.

        Args:
            decision: ``Decision.to_dict()``.
            told: By rank 0 with its request: ``decided_locally`` from the start of the run, and ``alarms`` since the
                request before, each a kind and a coefficient.
        """
        for name, gauge in self._gauges.items():
            if decision[name] is not None:
                gauge.set(decision[name], self._tags)
        self._decisions.inc(tags={**self._tags, "reason": decision["reason"]})
        for event, counter in self._events.items():
            if any(each.startswith(event) for each in decision["events"]):
                counter.inc(tags=self._tags)
        for kind, coefficient in told.get("alarms", ()):
            self._alarms.inc(tags={**self._tags, "kind": kind, "coefficient": coefficient})
        locally = told.get("decided_locally", 0)
        if locally > self._locally_before:
            self._locally.inc(locally - self._locally_before, self._tags)
            self._locally_before = locally
