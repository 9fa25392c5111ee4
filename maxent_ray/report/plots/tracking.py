"""Distance of H and KL from their targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from maxent_ray.report.labels import objective_colour
from maxent_ray.report.objective_summary import ObjectiveSummary
from maxent_ray.report.plots import style
from maxent_ray.report.plots.lines import Line, draw_trial
from maxent_ray.report.plots.panels import objective_grid
from maxent_ray.report.plots.scene import Scene

ENTROPY_BAND = 0.03
KL_BAND = 0.15
_BANDS = {"entropy": ENTROPY_BAND, "kl": KL_BAND}
_SIGNALS = (("entropy", "entropy H off target"), ("kl", "KL off target"))
_SMOOTHING = 5
_SETTLING = 10  # steps that do not count for the height of the axis: KL starts at zero, 100 % off


class _Panel(NamedTuple):
    axes: Axes
    group: ObjectiveSummary
    signal: str
    lines: list[Line]


def draw(scene: Scene) -> Path:
    """Write ``tracking.png``."""
    grid = objective_grid(
        "Are entropy and KL held on target?",
        f"Deviation from the target, in % of it. One line for each trial (mean of {_SMOOTHING} steps), "
        "thick: the best trial.\n▲: the trial took over another's policy and settings. Shaded: within "
        f"±{100 * ENTROPY_BAND:.0f} % (entropy) or ±{100 * KL_BAND:.0f} % (KL).",
        scene.groups(references=False),
        _SIGNALS,
    )
    panels = [
        _Panel(axes, group, signal, _lines(scene, group.objective, signal)) for axes, group, signal in grid.panels
    ]
    for signal, band in _BANDS.items():
        row = [panel for panel in panels if panel.signal == signal]
        reach = _reach([line for panel in row for line in panel.lines], band)
        for panel in row:
            _draw_panel(panel, band, reach)
    return style.save(grid.figure, scene.records.folder / "tracking.png")


def _lines(scene: Scene, objective: str, signal: str) -> list[Line]:
    return [scene.deviation_line(trial, signal, _SMOOTHING) for trial in scene.trials(objective)]


def _draw_panel(panel: _Panel, band: float, reach: float) -> None:
    axes, group = panel.axes, panel.group
    error = group.entropy_error if panel.signal == "entropy" else group.kl_error
    style.style(axes)
    axes.axhspan(-band, band, color="#DDEBDD", zorder=0)
    axes.axhline(0, color="#7A9A7A", linewidth=1, zorder=1)
    for line in panel.lines:
        draw_trial(axes, line, objective_colour(group.objective), emphasised=line.trial == group.best_trial)
    axes.set_ylim(-reach, reach)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed_percent(value)))
    if not any(np.isfinite(line.values).any() for line in panel.lines):
        style.say(axes, "no target, or nothing measured")
    if error is not None:
        style.note(axes, f"tracking error over the last third: {100 * error:.1f} %")


def _reach(lines: Sequence[Line], band: float) -> float:
    """Half the height of the axis: room for the band and for nearly all values after the first steps."""
    long_enough = any(len(line.values) > 2 * _SETTLING for line in lines)
    values = [line.values[_SETTLING if long_enough else 0 :] for line in lines]
    sizes = [abs(value) for own in values for value in own if np.isfinite(value)]
    return max(2.2 * band, 1.15 * float(np.quantile(sizes, 0.995))) if sizes else 2.2 * band


def _signed_percent(value: float) -> str:
    return f"{100 * value:+.0f} %".replace("-", "−") if abs(value) > 1e-9 else "target"
