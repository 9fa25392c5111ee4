"""τ and β of every trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from maxent_ray.report.labels import FIXED, objective_colour
from maxent_ray.report.objective_summary import ObjectiveSummary
from maxent_ray.report.plots import style
from maxent_ray.report.plots.lines import Line, draw_trial
from maxent_ray.report.plots.panels import objective_grid
from maxent_ray.report.plots.scene import Scene

_SIGNALS = (("tau", "entropy temperature τ"), ("beta", "KL coefficient β"))


def draw(scene: Scene) -> Path:
    """Write ``coefficients.png``."""
    dotted = " Dotted: the reference with fixed τ, β." if scene.trials(FIXED) else ""
    grid = objective_grid(
        "What the controllers did with τ and β",
        "One line for each trial, its number at the end; thick: the best trial.\n"
        f"▲: the trial took over another's policy and settings.{dotted}",
        scene.groups(references=False),
        _SIGNALS,
    )
    for axes, group, signal in grid.panels:
        _panel(axes, scene, group, signal)
    grid.figure.draw_without_rendering()  # labels need the final limits
    for axes, group, signal in grid.panels:
        _name_lines(axes, scene, group, signal)
    return style.save(grid.figure, scene.records.folder / "coefficients.png")


def _panel(axes: Axes, scene: Scene, group: ObjectiveSummary, signal: str) -> None:
    style.style(axes)
    axes.set_yscale("log")
    for trial in scene.trials(group.objective):
        line = _positive(scene.line(trial, signal))
        draw_trial(axes, line, objective_colour(group.objective), emphasised=trial == group.best_trial)
    for trial in scene.trials(FIXED):
        line = _positive(scene.line(trial, signal))
        axes.plot(line.steps, line.values, color=objective_colour(FIXED), linewidth=1.8, linestyle=":")
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 3.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _name_lines(axes: Axes, scene: Scene, group: ObjectiveSummary, signal: str) -> None:
    """Write the trials' numbers at the ends of their lines; the panel's title has the objective."""
    ends = []
    for trial in [*scene.trials(group.objective), *scene.trials(FIXED)]:
        line = _positive(scene.line(trial, signal))
        if line.values[-1] > 0:
            colour = objective_colour(scene.records.objective(trial))
            name = trial.removeprefix(f"{group.objective}-")
            ends.append(style.End(name, line.steps[-1], line.values[-1], colour, trial == group.best_trial))
    style.label_ends(axes, ends, log=True)


def _positive(line: Line) -> Line:
    """Leave out β = 0, which has no place on a logarithmic axis."""
    return replace(line, values=[value if value > 0 else float("nan") for value in line.values])
