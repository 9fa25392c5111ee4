"""Plots of a results folder, one PNG each.

Every objective has one colour throughout. A part that is missing (no clones yet, no references, no
evaluation) is left out, and the plot says so where it would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from maxent_ray.report.plots import coefficients, diversity, held_out, lineage, signals, tracking
from maxent_ray.report.plots.scene import Scene, load

__all__ = ["PLOTS", "draw_plots"]

PLOTS: Mapping[str, Callable[[Scene], Path]] = {
    "tracking": tracking.draw,
    "coefficients": coefficients.draw,
    "held_out": held_out.draw,
    "lineage": lineage.draw,
    "diversity": diversity.draw,
    "signals": signals.draw,
}
"""Name of a plot, and of its file without ``.png`` → function that draws it."""


def draw_plots(folder: Path, names: Iterable[str] = tuple(PLOTS)) -> list[Path]:
    """Draw plots of a results folder, which is read once.

    Args:
        folder: ``results/<name>``.
        names: Plots to draw; by default all.

    Raises:
        ConfigError: the folder has no readable ``config.yaml``.
    """
    scene = load(folder)
    return [PLOTS[name](scene) for name in names]
