"""Effect of the targets of a sweep: tracking errors, pass@k and coverage@k over the values that were tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maxent_ray.report.measures import Measure, measures
from maxent_ray.report.plots import style
from maxent_ray.report.plots.dots import draw_line, draw_scatter
from maxent_ray.report.plots.heat_map import Scale, draw_heat_map
from maxent_ray.report.plots.scene import Scene
from maxent_ray.report.sweep_summary import SweepPoint, SweepSummary

_READING = {
    "heat_map": "One cell for each pair of targets; brighter is better. Grey: no finished trial.",
    "scatter": "One dot for each pair of targets, the best with its value; brighter is better. ×: no finished trial.",
    "line": "One dot for each value, with its 95 % interval over held-out prompts. Dotted: no finished trial.",
}
_ERRORS = "Tracking error: |mean of (H − H*)/H*| and |mean of (KL − KL*)/KL*| over the last third of the steps."


def draw(scene: Scene) -> Path:
    """Write ``targets.png``."""
    sweep, shown = scene.summary.sweep, measures(scene.summary)
    groups = {} if sweep is None else sweep.groups()
    reading = f"{'' if sweep is None else _READING[sweep.layout]}\n{_ERRORS}".strip()
    height = 1.35 + _row_height(sweep) * max(1, len(groups))
    result = style.figure("What do the targets buy?", reading, width=14.5, height=height)
    grid = result.subplots(max(1, len(groups)), len(shown), squeeze=False)
    if sweep is None:
        style.say(grid[0, 0], "no setting differs\namong the trials")
    else:
        for column, measure in zip(grid.T, shown, strict=True):
            _draw_column(result, column, sweep, groups, measure)
    return style.save(result, scene.records.folder / "targets.png")


def _row_height(sweep: SweepSummary | None) -> float:
    """Inches of a row of panels."""
    if sweep is None or sweep.layout != "heat_map" or sweep.y is None:
        return 3.3
    return 1.25 + 0.5 * max(3, len(sweep.values(sweep.y)))


def _draw_column(
    figure: Figure,
    column: Sequence[Axes],
    sweep: SweepSummary,
    groups: Mapping[str, Sequence[SweepPoint]],
    measure: Measure,
) -> None:
    """Draw one measure of all groups, on one scale."""
    scale = Scale.of(sweep, measure)
    for axes, (heading, points) in zip(column, groups.items(), strict=True):
        style.heading(axes, measure.label if len(groups) == 1 else f"{measure.label}\n{heading}")
        match sweep.layout:
            case "heat_map":
                draw_heat_map(axes, sweep, points, scale)
            case "scatter":
                draw_scatter(axes, sweep, points, scale)
            case "line":
                draw_line(axes, sweep, points, measure)
    if sweep.layout == "scatter":
        scale.draw_bar(figure, column)
