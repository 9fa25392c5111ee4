"""How far H and KL are from their targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from maxent_ray.report.labels import objective_colour, objective_label
from maxent_ray.report.plots import style
from maxent_ray.report.plots.scene import Line, Quantity, Scene
from maxent_ray.report.summary import ObjectiveSummary

ENTROPY_BAND = 0.03
KL_BAND = 0.15
_SMOOTHING = 5
_SETTLING = 10  # steps that do not count for the height of the axis: KL starts at zero, 100 % off


def draw(scene: Scene) -> Path:
    """Write ``tracking.png``."""
    groups = scene.groups(references=False)
    result = style.figure(
        "Are entropy and KL held on target?",
        f"Deviation from the target, in % of it. One line for each trial (mean of {_SMOOTHING} steps), "
        "thick: the best trial.\n▲: the trial took over another's policy and settings. Shaded: within "
        f"±{100 * ENTROPY_BAND:.0f} % (entropy) or ±{100 * KL_BAND:.0f} % (KL).",
        width=11,
        height=7.4,
    )
    grid = result.subplots(2, max(1, len(groups)), sharex=True, sharey="row", squeeze=False)
    _row(list(grid[0]), scene, groups, "entropy_deviation", ENTROPY_BAND)
    _row(list(grid[1]), scene, groups, "kl_deviation", KL_BAND)
    for axes, group in zip(grid[0], groups, strict=False):
        style.heading(axes, objective_label(group.objective), objective_colour(group.objective))
    for axes in grid[1]:
        style.label_x(axes, "policy step")
    style.label_y(grid[0][0], "entropy H off target")
    style.label_y(grid[1][0], "KL off target")
    if not groups:
        style.say(grid[0][0], "no steps recorded yet")
    return style.save(result, scene.records.folder / "tracking.png")


def _row(
    panels: list[Axes], scene: Scene, groups: list[ObjectiveSummary], quantity: Quantity, band: float
) -> None:
    """One signal: a panel for each objective, all with the same axis."""
    lines = [[scene.line(t, quantity, _SMOOTHING) for t in scene.trials(group.objective)] for group in groups]
    reach = _reach([line for group in lines for line in group], band)
    for axes, group, own in zip(panels, groups, lines, strict=False):
        error = group.entropy_error if quantity == "entropy_deviation" else group.kl_error
        style.style(axes)
        axes.axhspan(-band, band, color="#DDEBDD", zorder=0)
        axes.axhline(0, color="#7A9A7A", linewidth=1, zorder=1)
        for line in own:
            style.trial_line(
                axes, scene, line, objective_colour(group.objective), line.trial == group.best_trial
            )
        axes.set_ylim(-reach, reach)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _percent(value)))
        if error is not None:
            style.note(axes, f"tracking error over the last third: {100 * error:.1f} %")


def _reach(lines: list[Line], band: float) -> float:
    """Half the height of the axis: room for the band and for nearly all that follows the first steps."""
    long_enough = any(len(line.values) > 2 * _SETTLING for line in lines)
    values = [line.values[_SETTLING if long_enough else 0 :] for line in lines]
    sizes = [abs(value) for own in values for value in own if np.isfinite(value)]
    return max(2.2 * band, 1.15 * float(np.quantile(sizes, 0.995))) if sizes else 2.2 * band


def _percent(value: float) -> str:
    return f"{100 * value:+.0f} %".replace("-", "−") if abs(value) > 1e-9 else "target"
