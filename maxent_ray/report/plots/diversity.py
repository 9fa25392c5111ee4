"""Whether accuracy rises at the cost of diversity: the reason why the project exists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from maxent_ray.report.labels import metric_label, objective_colour, objective_label
from maxent_ray.report.plots import style
from maxent_ray.report.plots.scene import Line, Quantity, Scene

_SMOOTHING = 10


def draw(scene: Scene) -> Path:
    """Write ``diversity.png``."""
    samples = scene.summary.group_size
    groups = [*scene.groups(references=False), *scene.groups(references=True)]
    result = style.figure(
        "Does the policy keep its different answers while it gets better?",
        f"On training prompts, mean of {_SMOOTHING} steps. "
        "Line: mean over the trials of an objective; shaded: from the lowest to the highest trial.",
        width=12,
        height=5.2,
    )
    left, right = result.subplots(1, 2)
    style.heading(left, f"{metric_label('coverage', samples)}: share of all solutions found")
    style.heading(right, f"{metric_label('mean', samples)}: share of answers that are correct")
    panels: tuple[tuple[Axes, Quantity], ...] = ((left, "coverage"), (right, "reward"))
    ends: dict[Quantity, list[style.End]] = {"coverage": [], "reward": []}
    for axes, quantity in panels:
        style.style(axes)
        style.label_x(axes, "policy step")
        for group in groups:
            lines = [scene.line(trial, quantity, _SMOOTHING) for trial in scene.trials(group.objective)]
            ends[quantity] += _draw_group(axes, lines, group.objective)
        if not ends[quantity]:
            style.say(axes, "no steps recorded yet" if not groups else "not known for this task")
    result.draw_without_rendering()  # labels need the final limits
    for axes, quantity in panels:
        style.label_ends(axes, ends[quantity])
    return style.save(result, scene.records.folder / "diversity.png")


def _draw_group(axes: Axes, lines: list[Line], objective: str) -> list[style.End]:
    """Mean and range over trials; returns where the line ends, nothing if there is none."""
    by_step: dict[int, list[float]] = {}
    for line in lines:
        # A mean of a step or two is mostly noise.
        start = _SMOOTHING // 2 if len(line.steps) > 2 * _SMOOTHING else 0
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
