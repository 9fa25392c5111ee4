"""Signals averaged over the trials of each objective."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maxent_ray.report.labels import objective_colour, objective_label
from maxent_ray.report.plots import style
from maxent_ray.report.plots.lines import Line
from maxent_ray.report.plots.scene import Scene

SMOOTHING = 10
"""Steps that a signal is smoothed over."""
READING = "Line: mean over the trials of an objective; shaded: from the lowest to the highest trial."


def draw_averages(scene: Scene, figure: Figure, panels: Sequence[tuple[Axes, str]]) -> None:
    """Draw one signal in each panel: a line for each objective and reference, its name at the end."""
    groups = [*scene.groups(references=False), *scene.groups(references=True)]
    ends: list[list[style.End]] = []
    for axes, signal in panels:
        style.style(axes)
        style.label_x(axes, "policy step")
        ends.append([])
        for group in groups:
            lines = [scene.line(trial, signal, SMOOTHING) for trial in scene.trials(group.objective)]
            ends[-1] += _draw_group(axes, lines, group.objective)
        if not ends[-1]:
            style.say(axes, "no steps recorded yet" if not groups else "not known for this task")
    figure.draw_without_rendering()  # labels need the final limits
    for (axes, _), found in zip(panels, ends, strict=True):
        style.label_ends(axes, found)


def _draw_group(axes: Axes, lines: Sequence[Line], objective: str) -> list[style.End]:
    """Draw mean and range over trials; the end of the line, or nothing if there is none."""
    by_step: dict[int, list[float]] = {}
    for line in lines:
        # A mean of a step or two is mostly noise.
        start = SMOOTHING // 2 if len(line.steps) > 2 * SMOOTHING else 0
        for step, value in zip(line.steps[start:], line.values[start:], strict=True):
            if np.isfinite(value):
                by_step.setdefault(step, []).append(value)
    steps, colour = sorted(by_step), objective_colour(objective)
    if not steps:
        return []
    if len(lines) > 1:
        low, high = [min(by_step[s]) for s in steps], [max(by_step[s]) for s in steps]
        axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0)
    means = [sum(by_step[s]) / len(by_step[s]) for s in steps]
    axes.plot(steps, means, color=colour, linewidth=2.6)
    return [style.End(objective_label(objective), steps[-1], means[-1], colour, bold=True)]
