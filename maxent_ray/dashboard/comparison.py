"""The comparison of objectives as rows of cells: the text that the command prints, and the numbers behind it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.evaluation.metric_intervals import Estimate, HeldOut
from maxent_ray.report.summary import Summary
from maxent_ray.report.tables.comparison import comparison_lines
from maxent_ray.report.tables.settings import points_headers, points_lines


def comparison(summary: Summary) -> dict[str, Any]:
    """The comparison as the command prints it; cells also have their numbers, to sort by."""
    metrics = summary.held_out_metrics or {summary.metric: summary.score_label}
    numeric = list(metrics.items())
    numeric += [("entropy_error", "H error"), ("kl_error", "KL error"), ("seconds", "s/step")]
    columns = [{"key": "label", "label": "objective", "numeric": False}]
    columns += [{"key": key, "label": label, "numeric": True} for key, label in numeric]
    sources = [
        (each, values)
        for each in summary.objectives
        for values in ([each.best_values, each.mean_values] if len(each.trials) > 1 else [each.best_values])
    ]
    rows = []
    for line, (owner, values) in zip(comparison_lines(summary), sources, strict=True):
        row: dict[str, Any] = {"label": {"text": line.label}}
        for metric, cell in zip(metrics, line.held_out, strict=True):
            row[metric] = {"text": " ".join(cell).strip(), **_estimate(*values, metric)}
        own = not line.secondary
        row["entropy_error"] = {"text": line.entropy_error, "value": owner.entropy_error if own else None}
        row["kl_error"] = {"text": line.kl_error, "value": owner.kl_error if own else None}
        row["seconds"] = {"text": line.seconds, "value": owner.signals["seconds_per_step"] if own else None}
        rows.append(row)
    return {"columns": columns, "rows": rows}


def points(summary: Summary) -> dict[str, Any]:
    """Every point of a sweep, as the command prints it; no rows for other runs."""
    if summary.sweep is None:
        return {"columns": [], "rows": []}
    headers = points_headers(summary)
    columns = [{"key": label, "label": label, "numeric": label not in ("trial", "front")} for label in headers]
    lines = [zip(headers, line, strict=True) for line in points_lines(summary)]
    return {"columns": columns, "rows": [{header: {"text": cell} for header, cell in line} for line in lines]}


def _estimate(held_out: HeldOut | None, score: float | None, metric: str) -> dict[str, float | None]:
    """Held-out estimate of a metric; the training score, without an interval, where it is none of these."""
    if metric not in METRICS:
        return asdict(Estimate(score))
    return asdict(Estimate() if held_out is None else held_out[metric])
