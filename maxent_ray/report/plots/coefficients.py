"""What the controllers did with τ and β."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from maxent_ray.report.labels import objective_colour, objective_label
from maxent_ray.report.plots import style
from maxent_ray.report.plots.scene import Line, Quantity, Scene
from maxent_ray.report.summary import ObjectiveSummary


def draw(scene: Scene) -> Path:
    """Write ``coefficients.png``."""
    groups = scene.groups(references=False)
    dotted = " Dotted: the reference with fixed τ, β." if scene.trials("fixed") else ""
    result = style.figure(
        "What the controllers did with τ and β",
        "One line for each trial, its number at the end; thick: the best trial.\n"
        f"▲: the trial took over another's policy and settings.{dotted}",
        width=11,
        height=7.4,
    )
    grid = result.subplots(2, max(1, len(groups)), sharex=True, sharey="row", squeeze=False)
    panels = [
        (axes, group, quantity)
        for row, quantity in zip(grid, ("tau", "beta"), strict=True)
        for axes, group in zip(row, groups, strict=False)
    ]
    for axes, group, quantity in panels:
        _panel(axes, scene, group, "tau" if quantity == "tau" else "beta")
    for axes, group in zip(grid[0], groups, strict=False):
        style.heading(axes, objective_label(group.objective), objective_colour(group.objective))
    for axes in grid[1]:
        style.label_x(axes, "policy step")
    style.label_y(grid[0][0], "entropy temperature τ")
    style.label_y(grid[1][0], "KL coefficient β")
    if not groups:
        style.say(grid[0][0], "no steps recorded yet")
    result.draw_without_rendering()  # labels need the final limits
    for axes, group, quantity in panels:
        _name_lines(axes, scene, group, "tau" if quantity == "tau" else "beta")
    return style.save(result, scene.records.folder / "coefficients.png")


def _panel(axes: Axes, scene: Scene, group: ObjectiveSummary, quantity: Quantity) -> None:
    style.style(axes)
    axes.set_yscale("log")
    for trial in scene.trials(group.objective):
        line = _positive(scene.line(trial, quantity))
        style.trial_line(axes, scene, line, objective_colour(group.objective), trial == group.best_trial)
    for trial in scene.trials("fixed"):
        line = _positive(scene.line(trial, quantity))
        axes.plot(line.steps, line.values, color=objective_colour("fixed"), linewidth=1.8, linestyle=":")
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 3.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _name_lines(axes: Axes, scene: Scene, group: ObjectiveSummary, quantity: Quantity) -> None:
    """The trials' numbers at the ends of their lines; the panel's title says the objective."""
    ends = []
    for trial in [*scene.trials(group.objective), *scene.trials("fixed")]:
        line = _positive(scene.line(trial, quantity))
        if line.values[-1] > 0:
            colour = objective_colour(scene.records.objective(trial))
            name = trial.removeprefix(f"{group.objective}-")
            ends.append(style.End(name, line.steps[-1], line.values[-1], colour, trial == group.best_trial))
    style.label_ends(axes, ends, log=True)


def _positive(line: Line) -> Line:
    """β = 0 has no place on a logarithmic axis."""
    return Line(line.trial, line.steps, [value if value > 0 else float("nan") for value in line.values])
