"""The controller's decisions as Ray metrics (``ray_maxent_*`` in Prometheus), tagged by run and objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

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


class ControllerMetrics:
    """Publishes one run's decisions.

    Args:
        run_id: Value of the tag ``run_id``.
        objective: Value of the tag ``objective``.
    """

    def __init__(self, run_id: str, objective: str) -> None:
        tags = {"run_id": run_id, "objective": objective}
        self._gauges = {
            name: Gauge(f"maxent_{name}", description=text, tag_keys=tuple(tags)) for name, text in GAUGES.items()
        }
        self._decisions = Counter("maxent_decisions", description="Decisions by reason", tag_keys=(*tags, "reason"))
        self._fallbacks = Counter(
            "maxent_fallbacks",
            description="Updates of truncated backprop that were made with analytic gradients",
            tag_keys=tuple(tags),
        )
        self._unreachable = Counter(
            "maxent_unreachable_steps",
            description="Steps that ranks decided without the controller",
            tag_keys=tuple(tags),
        )
        for metric in (*self._gauges.values(), self._decisions, self._fallbacks, self._unreachable):
            metric.set_default_tags(tags)
        self._seen_unreachable = 0

    def publish(self, decision: Mapping[str, Any]) -> None:
        """Publish one ``Decision.to_dict()``; what it did not measure keeps its last value."""
        for name, gauge in self._gauges.items():
            if decision[name] is not None:
                gauge.set(decision[name])
        self._decisions.inc(tags={"reason": str(decision["reason"])})
        if "fallback" in decision["events"]:
            self._fallbacks.inc()

    def publish_unreachable(self, total: int) -> None:
        """Publish how many steps were decided without the controller, counted from the start of the run."""
        if total > self._seen_unreachable:
            self._unreachable.inc(total - self._seen_unreachable)
            self._seen_unreachable = total
