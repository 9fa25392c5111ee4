"""Points of a sweep as dots: over two targets with colour, or over one setting with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from maxent_ray.report.labels import objective_colour, setting_label
from maxent_ray.report.measures import Measure
from maxent_ray.report.numbers import number
from maxent_ray.report.plots import style
from maxent_ray.report.plots.heat_map import Scale
from maxent_ray.report.sweep_summary import SweepPoint, SweepSummary, absence, short

_LOG_RANGE = 4.0
"""Ratio of the highest to the lowest value from which an axis is logarithmic."""
_FEW = 6
"""Values that an axis names one by one."""


def draw_scatter(axes: Axes, sweep: SweepSummary, points: Sequence[SweepPoint], scale: Scale) -> None:
    """Draw a dot for each pair of targets, and the best one's value."""
    assert sweep.y is not None
    style.style(axes)
    name = scale.measure.name
    known = {point.trial: value for point in points if (value := point.value(name)) is not None}
    for point in points:
        x, y = point.settings[sweep.x], point.settings[sweep.y]
        if point.trial in known:
            axes.plot(x, y, "o", color=scale.colour(known[point.trial]), markersize=13, markeredgecolor="#777777")
        else:
            axes.plot(x, y, "x", color=style.FAINT, markersize=8, markeredgewidth=2)
    axes.margins(0.1, 0.14)
    _numeric_axis(axes, "x", sweep, sweep.x)
    _numeric_axis(axes, "y", sweep, sweep.y)
    if known:
        best = (min if scale.measure.is_error else max)(known, key=lambda trial: known[trial])
        (place,) = (point.settings for point in points if point.trial == best)
        _write(axes, scale.measure.text(known[best]), place[sweep.x], place[sweep.y])


def draw_line(axes: Axes, sweep: SweepSummary, points: Sequence[SweepPoint], measure: Measure) -> None:
    """Draw a dot for each value, joined where the values are numbers; held-out metrics with their intervals."""
    style.style(axes)
    values = sweep.values(sweep.x)
    is_numeric = all(number(value) is not None for value in values)
    colour = objective_colour(points[0].objective)
    places = [(values[i] if is_numeric else i, point) for i, v in enumerate(values) for point in _at(points, sweep, v)]
    known = [(x, point, y) for x, point in places if (y := point.value(measure.name)) is not None]
    line = "o-" if is_numeric and not sweep.panels else "o"
    axes.plot([x for x, *_ in known], [y for *_, y in known], line, color=colour, markersize=9)
    for x, point, y in known:
        estimate = None if measure.is_error or point.held_out is None else point.held_out[measure.name]
        if estimate is not None and estimate.low is not None and estimate.high is not None:
            axes.plot([x, x], [estimate.low, estimate.high], color=colour, linewidth=2.2, alpha=0.6)
        _write(axes, measure.text(y), x, y)
    for x, point in places:
        if point.state != "finished":
            _mark_absence(axes, point, x)
    axes.margins(0.12, 0.2)
    axes.yaxis.set_major_formatter(lambda value, _: measure.text(value))
    if is_numeric:
        _numeric_axis(axes, "x", sweep, sweep.x)
    else:
        axes.set_xticks(range(len(values)), [short(value) for value in values], fontsize=10)
        axes.set_xlabel(setting_label(sweep.x), fontsize=10.5, color=style.INK)


def _at(points: Sequence[SweepPoint], sweep: SweepSummary, value: object) -> list[SweepPoint]:
    return [point for point in points if point.settings.get(sweep.x) == value]


def _write(axes: Axes, text: str, x: float, y: float) -> None:
    """Write a value above its dot."""
    behind = [withStroke(linewidth=3, foreground="white")]
    axes.annotate(
        text,
        (x, y),
        xytext=(0, 9),
        textcoords="offset points",
        ha="center",
        fontsize=10,
        fontweight="bold",
        color=style.INK,
        path_effects=behind,
        zorder=5,
    )


def _mark_absence(axes: Axes, point: SweepPoint, x: float) -> None:
    axes.axvline(x, color=style.FAINT, linewidth=1, linestyle=":")
    foot = axes.get_xaxis_transform()
    text = f"{absence(point)} "
    axes.text(x, 0.03, text, transform=foot, rotation=90, va="bottom", ha="right", fontsize=8.5, color=style.FAINT)


def _numeric_axis(axes: Axes, which: Literal["x", "y"], sweep: SweepSummary, key: str) -> None:
    """Label an axis with the values that were tried, or with a few of many; logarithmic where they span much."""
    values = np.asarray(sweep.values(key), dtype=float)
    axis = axes.xaxis if which == "x" else axes.yaxis
    if values.min() > 0 and values.max() / values.min() >= _LOG_RANGE:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        values = np.geomspace(values.min(), values.max(), 5) if len(values) > _FEW else values
    if len(values) <= _FEW:
        axis.set_ticks(values)
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: short(float(value)))
    axis.set_label_text(setting_label(key), fontsize=10.5, color=style.INK)

