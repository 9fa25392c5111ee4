"""Plots of a results folder, one PNG each.

Every objective has one colour throughout. A part that is missing (no clones yet, no references, no
evaluation) is left out, and the plot says so where it would be.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path

from maxent_ray.telemetry import Telemetry

__all__ = ["PLOTS", "RLLIB_PLOTS", "SWEEP_PLOTS", "draw_plots"]

PLOTS = ("tracking", "coefficients", "held_out", "lineage", "diversity", "signals")
"""Names of the plots: each is a module here with a function ``draw``, and a file without ``.png``."""
SWEEP_PLOTS = ("targets", "pareto")
"""Names of the plots that a sweep has besides."""
RLLIB_PLOTS = ("tracking", "coefficients", "lineage", "signals")
"""Names of the plots of a run of RLlib, which has no groups and holds nothing out."""


def draw_plots(folder: Path, names: Iterable[str] = PLOTS, *, telemetry: Telemetry | None = None) -> list[Path]:
    """Draw plots of a results folder, which is read once. Leaves the user's backend and style alone.

    Args:
        folder: ``results/<name>``.
        names: Plots to draw; by default all.
        telemetry: Counts plots that fail, which are then left out; None: the first failure is raised.

    Raises:
        ConfigError: the folder has no readable ``config.yaml``.
    """
    drawn: list[Path] = []
    with _attempt(telemetry):
        from maxent_ray.report.plots.canvas import plain_style  # loads matplotlib: only where something is drawn
        from maxent_ray.report.plots.scene import load

        scene = load(folder)
        with plain_style():
            for name in names:
                with _attempt(telemetry):
                    drawn.append(import_module(f"{__name__}.{name}").draw(scene))
    return drawn


def _attempt(telemetry: Telemetry | None) -> AbstractContextManager[None]:
    return nullcontext() if telemetry is None else telemetry.attempt()
