"""Figures of :mod:`tournament`: accuracy against diversity of every arm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from tournament_report import FAMILIES, OURS, Result

from maxent_ray.report.plots import style
from maxent_ray.report.plots.point_labels import PointLabel, label_points

COLOURS = dict(zip(FAMILIES, ("#0072B2", "#56B4E9", "#666666", "#D55E00", "#009E73", "#CC79A7"), strict=True))
DIVERSITY = {
    "pass_rate": "pass@8: share of prompts with a right answer",
    "coverage": "coverage@8: share of solutions found",
}


def draw_pareto(results: Mapping[str, Result], warm_start: Result, path: Path) -> None:
    """Draw mean@8 against pass@8 and against coverage@8, with 95 % intervals; the warm start as a cross."""
    figure = style.figure(
        "Accuracy against diversity on held-out prompts",
        "A dot for each arm, with 95 % intervals over seeds and prompts; up and to the right is better. Dashed: the "
        "Pareto front of the means.\nOf two arms on the same seeds these overlap long before a paired difference does: "
        "compare them by the table.",
        width=15,
        height=9,
    )
    for axes, (metric, label) in zip(figure.subplots(1, 2), DIVERSITY.items(), strict=True):
        style.style(axes)
        axes.set_xlabel("mean@8: share of answers that are right", fontsize=11)
        style.label_y(axes, label)
        labels = _draw_arms(axes, results, metric)
        labels.append(_draw_warm_start(axes, warm_start, metric))
        label_points(figure, axes, labels)
    there = {result.arm.family for result in results.values()}
    keys = [
        Line2D([], [], color=colour, marker="o", linestyle="", label=FAMILIES[family])
        for family, colour in COLOURS.items()
        if family in there
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False, fontsize=10)
    style.save(figure, path)


def _draw_arms(axes: Axes, results: Mapping[str, Result], metric: str) -> list[PointLabel]:
    places = {name: (result.value("mean"), result.value(metric)) for name, result in results.items()}
    front = sorted(name for name, place in places.items() if not any(_beats(other, place) for other in places.values()))
    ordered = sorted(front, key=lambda name: places[name])
    line = zip(*(places[name] for name in ordered), strict=True)
    axes.plot(*line, color="#777777", linewidth=1.2, linestyle="--", zorder=2)
    labels = []
    for name, result in results.items():
        (x, y), colour = places[name], COLOURS.get(result.arm.family, style.INK)
        bold = name == OURS or name in front
        _draw_intervals(axes, result, metric, colour, alpha=0.4 if bold else 0.1)
        axes.plot(x, y, "o", color=colour, markersize=11 if name == OURS else 7, markeredgecolor="white", zorder=3)
        labels.append(PointLabel(name, x, y, colour, bold=bold, optional=not bold))
    return labels


def _draw_intervals(axes: Axes, result: Result, metric: str, colour: str, alpha: float) -> None:
    x, y = result.value("mean"), result.value(metric)
    look = {"color": colour, "linewidth": 1, "alpha": alpha, "zorder": 1}
    axes.plot(result.interval("mean"), [y, y], **look)
    axes.plot([x, x], result.interval(metric), **look)


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]


def _draw_warm_start(axes: Axes, warm_start: Result, metric: str) -> PointLabel:
    """The policy before any training."""
    x, y = warm_start.value("mean"), warm_start.value(metric)
    _draw_intervals(axes, warm_start, metric, style.INK, alpha=0.4)
    axes.plot(x, y, "x", color=style.INK, markersize=9, zorder=3)
    return PointLabel(warm_start.arm.name, x, y, style.INK, bold=False, optional=False)
