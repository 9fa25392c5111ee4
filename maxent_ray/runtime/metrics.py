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
COUNTERS = {
    "rejected": "Reports that were refused",
    "duplicates": "Reports that had come before",
    "late": "Reports of rounds that were closed already",
    "adopted": "States that the controller took over from a rank",
    "partial_gradients": "Rounds whose gradients some ranks lacked, and that went without",
    "void_rounds": "Rounds that too few ranks could measure anything in",
    "quorum_rounds": "Rounds that closed without some ranks",
    "lost_rounds": "Rounds that were not decided because a rank went on without them",
    "round_timeouts": "Times that a rank waited in vain for others",
    "unreachable_steps": "Steps that ranks decided without the controller",
}
"""Counter of the service → help text; the metric is ``maxent_<counter>``."""


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
        self._alarms = Counter(
            "maxent_alarms",
            description="Coefficients that were found to do nothing",
            tag_keys=(*tags, "kind", "coefficient"),
        )
        self._counters = {
            name: Counter(f"maxent_{name}", description=text, tag_keys=tuple(tags)) for name, text in COUNTERS.items()
        }
        for metric in (
            *self._gauges.values(),
            self._decisions,
            self._fallbacks,
            self._alarms,
            *self._counters.values(),
        ):
            metric.set_default_tags(tags)
        self._published: dict[str, int] = {}

    def publish(self, decision: Mapping[str, Any]) -> None:
        """Publish one ``Decision.to_dict()``; what it did not measure keeps its last value."""
        for name, gauge in self._gauges.items():
            if decision[name] is not None:
                gauge.set(decision[name])
        self._decisions.inc(tags={"reason": str(decision["reason"])})
        if "fallback" in decision["events"]:
            self._fallbacks.inc()
        for alarm in decision["alarms"]:
            self._alarms.inc(tags={"kind": str(alarm["kind"]), "coefficient": alarm["coefficient"]})

    def publish_counters(self, counters: Mapping[str, Any]) -> None:
        """Publish the service's counters, each counted from the start of the run; a counter never falls.

        Args:
            counters: Some or all of :data:`COUNTERS`, and others, which are left alone.
        """
        for name, counter in self._counters.items():
            total, before = int(counters.get(name, 0)), self._published.get(name, 0)
            if total > before:
                counter.inc(total - before)
                self._published[name] = total
