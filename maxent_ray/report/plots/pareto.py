"""Pareto front of a sweep: accuracy against diversity of every point, with the references beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from maxent_ray.evaluation.metric_intervals import HeldOut
from maxent_ray.report.labels import objective_colour, objective_label
from maxent_ray.report.plots import style
from maxent_ray.report.plots.point_labels import PointLabel, label_points
from maxent_ray.report.plots.scene import Scene
from maxent_ray.report.summary import Summary
from maxent_ray.report.sweep_summary import SweepSummary

_PALE = 0.35


def draw(scene: Scene) -> Path:
    """Write ``pareto.png``."""
    summary, sweep = scene.summary, scene.summary.sweep
    result = style.figure(
        "Which targets give the most accuracy for their diversity?",
        "A dot for each point, with its 95 % intervals over held-out prompts; up and to the right is better. Line: the "
        "Pareto front, points\nthat no other beats in both. Pale: points off the front. Diamonds: references, which "
        "stand for no targets and are not on the front.",
        width=11.5,
        height=7.6,
    )
    axes = result.subplots()
    style.style(axes)
    axes.set_xlabel(f"{summary.held_out_metrics['mean']}: share of answers that are correct", fontsize=11)
    axes.set_ylabel(f"{summary.held_out_metrics['coverage']}: share of all solutions found", fontsize=11)
    labels = [*_draw_front(axes, sweep), *_draw_references(axes, summary)] if sweep is not None else []
    axes.margins(0.06)
    if sweep is not None and labels:
        _draw_key(axes, sweep)
        label_points(result, axes, labels)
    else:
        style.say(axes, "no point evaluated yet, or its coverage is not known")
    return style.save(result, scene.records.folder / "pareto.png")


def _draw_front(axes: Axes, sweep: SweepSummary) -> Iterator[PointLabel]:
    """Draw the front as a line, and all points with their intervals."""
    by_name = {point.trial: point for point in sweep.points}
    front = np.asarray([[by_name[name].value(metric) for metric in ("mean", "coverage")] for name in sweep.front])
    axes.plot(*front.reshape(-1, 2).T.astype(float), color="#777777", linewidth=1.6, zorder=2)
    others = (point for point in sweep.points if point.trial not in sweep.front)
    for point in [*(by_name[name] for name in sweep.front), *others]:
        on_front, colour = point.trial in sweep.front, objective_colour(point.objective)
        place = _draw_cross(axes, point.held_out, colour, "o", 11 if on_front else 8, 1.0 if on_front else _PALE)
        if place is not None:
            ink = style.INK if on_front else style.FAINT
            yield PointLabel(sweep.label(point), *place, ink, bold=on_front, optional=not on_front)


def _draw_references(axes: Axes, summary: Summary) -> Iterator[PointLabel]:
    for each in summary.objectives:
        if each.reference:
            colour = objective_colour(each.objective)
            place = _draw_cross(axes, each.held_out, colour, "D", 9, 1.0)
            if place is not None:
                yield PointLabel(objective_label(each.objective), *place, colour, bold=True, optional=False)


def _draw_cross(
    axes: Axes, held_out: HeldOut | None, colour: str, marker: str, size: float, alpha: float
) -> tuple[float, float] | None:
    """Draw a point with its two intervals; its place, or None where a value is not known."""
    if held_out is None or held_out.mean.value is None or held_out.coverage.value is None:
        return None
    (left, x, right), (foot, y, head) = (
        np.asarray([each.low, each.value, each.high], dtype=float) for each in (held_out.mean, held_out.coverage)
    )
    axes.plot([left, right], [y, y], color=colour, linewidth=1.2, alpha=0.45 * alpha, zorder=1)
    axes.plot([x, x], [foot, head], color=colour, linewidth=1.2, alpha=0.45 * alpha, zorder=1)
    axes.plot(x, y, marker, color=colour, markersize=size, alpha=alpha, markeredgecolor="white", zorder=3)
    return float(x), float(y)


def _draw_key(axes: Axes, sweep: SweepSummary) -> None:
    """Name the colours of the objectives in the lower left corner, where a sweep seldom has points."""
    for place, objective in enumerate(dict.fromkeys(point.objective for point in sweep.points)):
        name = f"● {objective_label(objective)}"
        colour, height = objective_colour(objective), 0.02 + 0.04 * place
        axes.text(0.015, height, name, transform=axes.transAxes, color=colour, fontsize=10.5, fontweight="bold")
