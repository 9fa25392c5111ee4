"""Directives ``logged-signals`` and ``prometheus-metrics``: the fields of ``rows.jsonl``, and what Prometheus gets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from markdown import Generated, table

from maxent_ray.core.signals import SIGNALS
from maxent_ray.runtime.metric_table import exported_metrics, metric


class LoggedSignals(Generated):
    """One line for each logged signal."""

    def lines(self) -> Iterable[str]:
        """The table."""
        rows = [
            [
                f"`{signal.name}`",
                signal.unit,
                signal.description,
                f"`{metric(signal.metric or signal.name).in_prometheus}`" if signal.exporter else "",
            ]
            for signal in SIGNALS
        ]
        yield from table(["field", "unit", "meaning", "Prometheus metric"], rows)


class PrometheusMetrics(Generated):
    """One line for each metric."""

    def lines(self) -> Iterable[str]:
        """The table."""
        rows = [
            [f"`{each.in_prometheus}`", each.kind, each.text, ", ".join(f"`{tag}`" for tag in each.tags)]
            for each in exported_metrics()
        ]
        yield from table(["metric", "kind", "meaning", "more tags"], rows)


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("logged-signals", LoggedSignals)
    app.add_directive("prometheus-metrics", PrometheusMetrics)
    return {"parallel_read_safe": True}
