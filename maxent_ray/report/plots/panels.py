"""Grid of panels: a row for each signal, a column for each objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maxent_ray.report.labels import objective_colour, objective_label
from maxent_ray.report.objective_summary import ObjectiveSummary
from maxent_ray.report.plots import style


@dataclass(frozen=True)
class Grid:
    """An empty figure with its panels."""

    figure: Figure
    panels: tuple[tuple[Axes, ObjectiveSummary, str], ...]
    """Panel, objective and signal."""


def objective_grid(
    title: str, subtitle: str, groups: Sequence[ObjectiveSummary], signals: Sequence[tuple[str, str]]
) -> Grid:
    """Lay out an empty grid with its headings.

    Args:
        title: Of the figure.
        subtitle: How to read it.
        groups: Objectives, one column each.
        signals: Signals, one row each, with the labels of their axes.
    """
    figure = style.figure(title, subtitle, width=11, height=7.4)
    axes = figure.subplots(len(signals), max(1, len(groups)), sharex=True, sharey="row", squeeze=False)
    for panel, group in zip(axes[0], groups, strict=False):
        style.heading(panel, objective_label(group.objective), objective_colour(group.objective))
    for panel in axes[-1]:
        style.label_x(panel, "policy step")
    for row, (_, label) in zip(axes, signals, strict=True):
        style.label_y(row[0], label)
    if not groups:
        style.say(axes[0][0], "no steps recorded yet")
    panels = (
        (panel, group, signal)
        for row, (signal, _) in zip(axes, signals, strict=True)
        for panel, group in zip(row, groups, strict=False)
    )
    return Grid(figure, tuple(panels))
