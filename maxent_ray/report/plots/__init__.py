"""Plots of a results folder, one PNG each: tracking, coefficients, held-out metrics, lineage, diversity.

Every objective has one colour throughout. A part that is missing (no clones yet, no references, no
evaluation) is left out, and the plot says so where it would be.
"""

from __future__ import annotations

from pathlib import Path

from maxent_ray.report.plots import coefficients, diversity, held_out, lineage, tracking
from maxent_ray.report.plots.scene import load

__all__ = [
    "plot_all",
    "plot_coefficients",
    "plot_diversity",
    "plot_held_out",
    "plot_lineage",
    "plot_tracking",
]


def plot_all(folder: Path) -> list[Path]:
    """All plots of a results folder, read once.

    Raises:
        ConfigError: the folder has no readable ``config.yaml``; so for every function here.
    """
    scene = load(folder)
    return [module.draw(scene) for module in (tracking, coefficients, held_out, lineage, diversity)]


def plot_tracking(folder: Path) -> Path:
    """How far H and KL are from their targets, step by step: one panel for each objective and signal."""
    return tracking.draw(load(folder))


def plot_coefficients(folder: Path) -> Path:
    """τ and β of every trial on logarithmic axes: one panel for each objective and coefficient."""
    return coefficients.draw(load(folder))


def plot_held_out(folder: Path) -> Path:
    """The four held-out metrics of every objective and reference, with their intervals."""
    return held_out.draw(load(folder))


def plot_lineage(folder: Path) -> Path:
    """One lane for each trial, an arrow for each clone; thick: how the best policies came to be."""
    return lineage.draw(load(folder))


def plot_diversity(folder: Path) -> Path:
    """coverage@G beside mean@G over training: whether accuracy rises at the cost of diversity."""
    return diversity.draw(load(folder))
