"""Time series of the logged signals that ask for a plot: a panel for each."""

from __future__ import annotations

from pathlib import Path

from maxent_ray.core import signals
from maxent_ray.report.plots import style
from maxent_ray.report.plots.averages import READING, SMOOTHING, draw_averages
from maxent_ray.report.plots.scene import Scene

COLUMNS = 3


def draw(scene: Scene) -> Path:
    """Write ``signals.png``."""
    plotted = [signal for signal in signals.signals_of(scene.records.config.training) if signal.plotted]
    rows = max(1, -(-len(plotted) // COLUMNS))
    result = style.figure(
        "Logged signals", f"Mean of {SMOOTHING} steps. {READING}", width=14, height=1.2 + 3.2 * rows
    )
    grid = result.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat[len(plotted) :]:
        axes.set_axis_off()
    panels = list(zip(grid.flat, plotted, strict=False))
    for axes, signal in panels:
        style.heading(axes, f"{signal.label} ({signal.unit})" if signal.unit else signal.label)
    draw_averages(scene, result, [(axes, signal.name) for axes, signal in panels])
    return style.save(result, scene.records.folder / "signals.png")
