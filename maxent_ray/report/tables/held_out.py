"""Table of the held-out metrics of one policy."""

from __future__ import annotations

from rich.table import Table

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.evaluation.held_out import HeldOutMetrics
from maxent_ray.evaluation.metric_intervals import Estimate, estimate_metrics
from maxent_ray.report.formatting import DASH, fixed
from maxent_ray.report.labels import metric_label
from maxent_ray.report.tables.layout import make_table


def held_out_table(metrics: HeldOutMetrics) -> Table:
    """Make the table of one policy's metrics with their intervals."""
    table = make_table(None, "metric", ["value", "95 % interval"])
    estimates = estimate_metrics([metrics])
    for metric in METRICS:
        estimate = estimates[metric]
        table.add_row(metric_label(metric, metrics.samples), fixed(estimate.value, 3), _interval(estimate))
    return table


def _interval(estimate: Estimate) -> str:
    return DASH if estimate.value is None else f"{fixed(estimate.low, 3)} … {fixed(estimate.high, 3)}"
