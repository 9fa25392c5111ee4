"""Look of all plots: light grid, names at the lines instead of legends, 1400 pixels wide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from maxent_ray.report.plots.canvas import agg_figure

DPI = 130
INK = "#333333"
FAINT = "#8A8A8A"
GRID = "#E6E6E6"


def figure(title: str, subtitle: str, width: float, height: float) -> Figure:
    """Make an empty figure of `width` × `height` inches with its message on top."""
    result = agg_figure(figsize=(width, height), dpi=DPI, facecolor="white")
    head = 0.62 + 0.2 * len(subtitle.splitlines())
    result.set_layout_engine("constrained", rect=(0.005, 0.005, 0.99, 1 - head / height))
    result.text(0.012, 1 - 0.12 / height, title, fontsize=15, fontweight="bold", color=INK, va="top")
    result.text(0.012, 1 - 0.43 / height, subtitle, fontsize=10.5, color=INK, va="top", linespacing=1.35)
    return result


def style(axes: Axes, *, grid: str = "both") -> None:
    """Give a panel a light grid along `grid`, and no frame."""
    axes.grid(True, axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=10, colors=INK, length=0, which="both")
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom" and grid != "x")
        spine.set_color("#BBBBBB")


def heading(axes: Axes, text: str, colour: str = INK) -> None:
    """Write a panel's title at the left."""
    axes.set_title(text, loc="left", fontsize=12, fontweight="bold", color=colour, pad=8)


def label_x(axes: Axes, text: str) -> None:
    """Label the horizontal axis, which has whole numbers."""
    axes.set_xlabel(text, fontsize=10.5, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True))


def label_y(axes: Axes, text: str) -> None:
    """Label the vertical axis."""
    axes.set_ylabel(text, fontsize=11, color=INK)


def note(axes: Axes, text: str) -> None:
    """Write a remark in the lower right corner."""
    axes.text(0.99, 0.03, text, transform=axes.transAxes, ha="right", fontsize=10, color=INK)


def say(axes: Axes, text: str) -> None:
    """Write the reason why a panel is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT, fontsize=13)


def save(result: Figure, path: Path) -> Path:
    """Write the figure as PNG."""
    result.savefig(path, format="png", dpi=DPI)
    return path


class End(NamedTuple):
    """End of a line, and the name to write there."""

    name: str
    step: int
    value: float
    colour: str
    bold: bool


def label_ends(axes: Axes, ends: Sequence[End], *, log: bool = False) -> None:
    """Write names beside the ends of lines, moved apart where they would overlap.

    Args:
        axes: Where; its limits must be final, and the figure must have been laid out.
        ends: Ends of the lines, with their names.
        log: The value axis is logarithmic.
    """
    low, high = axes.get_ylim()

    def height(value: float) -> float:
        bounds = np.log([low, high, value]) if log else np.asarray([low, high, value])
        return float(np.clip((bounds[2] - bounds[0]) / (bounds[1] - bounds[0]), 0, 1))

    ordered = sorted(ends, key=lambda end: end.value)
    pixels = axes.get_window_extent().height
    places = spread([height(end.value) for end in ordered], gap=0.17 * DPI / pixels)
    for end, place in zip(ordered, places, strict=True):
        axes.annotate(
            end.name,
            xy=(end.step, height(end.value)),
            xycoords=("data", "axes fraction"),
            xytext=(1.015, place),
            textcoords="axes fraction",
            fontsize=10,
            fontweight="bold" if end.bold else "normal",
            color=end.colour,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": end.colour,
                "linewidth": 0.6,
                "alpha": 0.6,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move ascending positions at least `gap` apart, each as little as a few passes find.

    Example:
        >>> [round(place, 2) for place in spread([0.5, 0.5, 0.9], gap=0.1)]
        [0.45, 0.55, 0.9]
    """
    result = list(places)
    for _ in range(200):
        moved = False
        for i in range(len(result) - 1):
            overlap = gap - (result[i + 1] - result[i])
            if overlap > 1e-9:
                result[i] -= overlap / 2
                result[i + 1] += overlap / 2
                moved = True
        if not moved:
            break
    return result
