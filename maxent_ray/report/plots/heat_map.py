"""Heat map over two targets, its colour scale, and what stands where there is no value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from maxent_ray.report.labels import setting_label
from maxent_ray.report.measures import Measure
from maxent_ray.report.plots import style
from maxent_ray.report.sweep_summary import SweepPoint, SweepSummary, absence, short

COLOURS = "cividis"
"""Sequential, and made to look the same with colour vision deficiencies (Nuñez et al. 2018)."""
_DARK, _LIGHT, _NO_VALUE = "#111111", "#FFFFFF", "#EFEFEF"
_READABLE = 0.179
"""Relative luminance of a background above which dark text has more contrast than light (WCAG 2)."""


@dataclass(frozen=True)
class Scale:
    """Colours of one measure: brighter is better, for errors too."""

    measure: Measure
    mapped: ScalarMappable

    @classmethod
    def of(cls, sweep: SweepSummary, measure: Measure) -> Scale:
        """From the worst to the best of all points."""
        known = [value for point in sweep.points if (value := point.value(measure.name)) is not None]
        low, high = (min(known), max(known)) if known else (0.0, 0.0)
        colours = colormaps[COLOURS].reversed() if measure.is_error else colormaps[COLOURS]
        return cls(measure, ScalarMappable(Normalize(low, high if high > low else low + 1.0), colours))

    def colour(self, value: float) -> Any:
        """Colour of a value, as four numbers."""
        return self.mapped.to_rgba(np.asarray(value))

    def draw_bar(self, figure: Figure, column: Sequence[Axes]) -> None:
        """Draw the scale below a column of panels."""
        bar = figure.colorbar(self.mapped, ax=list(column), location="bottom", shrink=0.9, aspect=30)
        bar.ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
        bar.ax.tick_params(labelsize=9, colors=style.INK)
        bar.ax.xaxis.set_major_formatter(lambda value, _: self.measure.text(value))


def draw_heat_map(axes: Axes, sweep: SweepSummary, points: Sequence[SweepPoint], scale: Scale) -> None:
    """Draw a cell with its value for each pair; the highest target of the vertical axis is on top."""
    assert sweep.y is not None
    across, up = sweep.values(sweep.x), sweep.values(sweep.y)
    by_cell = {(point.settings.get(sweep.x), point.settings.get(sweep.y)): point for point in points}
    for column, x in enumerate(across):
        for row, y in enumerate(up):
            _cell(axes, column, row, by_cell.get((x, y)), scale)
    axes.set_xlim(-0.5, len(across) - 0.5)
    axes.set_ylim(-0.5, len(up) - 0.5)
    axes.set_xticks(range(len(across)), [short(value) for value in across])
    axes.set_yticks(range(len(up)), [short(value) for value in up])
    axes.tick_params(labelsize=10.5, colors=style.INK, length=0)
    axes.set_xlabel(setting_label(sweep.x), fontsize=10.5, color=style.INK)
    axes.set_ylabel(setting_label(sweep.y), fontsize=10.5, color=style.INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cell(axes: Axes, column: int, row: int, point: SweepPoint | None, scale: Scale) -> None:
    value = None if point is None else point.value(scale.measure.name)
    corner, size = (column - 0.48, row - 0.47), (0.96, 0.94)
    if value is None:
        axes.add_patch(Rectangle(corner, *size, facecolor=_NO_VALUE, edgecolor="#D5D5D5", linewidth=0, hatch="////"))
        words = absence(point).replace(" ", "\n", 1)
        behind = {"facecolor": _NO_VALUE, "linewidth": 0, "pad": 1.5}
        axes.text(column, row, words, ha="center", va="center", fontsize=9, color=style.INK, bbox=behind)
    else:
        colour = scale.colour(value)
        axes.add_patch(Rectangle(corner, *size, facecolor=colour, linewidth=0))
        text = scale.measure.text(value)
        axes.text(column, row, text, ha="center", va="center", fontsize=12, color=_ink(colour))


def _ink(background: Sequence[float]) -> str:
    """Colour of text that can be read on a background, by its relative luminance (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in background[:3]]
    return _DARK if float(np.dot((0.2126, 0.7152, 0.0722), linear)) > _READABLE else _LIGHT
