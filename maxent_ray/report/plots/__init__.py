"""Plots of a results folder, one PNG each: tracking, coefficients, held-out metrics, lineage, diversity, signals.

Every objective has one colour throughout. A part that is missing (no clones yet, no references, no
evaluation) is left out, and the plot says so where it would be.
"""

from __future__ import annotations

from pathlib import Path

from maxent_ray.report.plots import coefficients, diversity, held_out, lineage, signals, tracking
from maxent_ray.report.plots.scene import load

__all__ = [
    "plot_all",
    "plot_coefficients",
    "plot_diversity",
    "plot_held_out",
    "plot_lineage",
    "plot_signals",
    "plot_tracking",
]


def plot_all(folder: Path) -> list[Path]:
    """Draw all plots of a results folder, read once.

    Raises:
        ConfigError: the folder has no readable ``config.yaml``; so for every function here.
    """
    scene = load(folder)
    return [module.draw(scene) for module in (tracking, coefficients, held_out, lineage, diversity, signals)]


def plot_tracking(folder: Path) -> Path:
    """Draw the distance of H and KL from their targets, step by step: one panel for each objective and signal."""
    return tracking.draw(load(folder))


def plot_coefficients(folder: Path) -> Path:
    """Draw τ and β of every trial on logarithmic axes: one panel for each objective and coefficient."""
    return coefficients.draw(load(folder))


def plot_held_out(folder: Path) -> Path:
    """Draw the held-out metrics of every objective and reference, with their intervals."""
    return held_out.draw(load(folder))


def plot_lineage(folder: Path) -> Path:
    """Draw one lane for each trial, an arrow for each clone; thick: the way to the best policies."""
    return lineage.draw(load(folder))


def plot_diversity(folder: Path) -> Path:
    """Draw coverage@G beside mean@G over training: whether accuracy rises at the cost of diversity."""
    return diversity.draw(load(folder))


def plot_signals(folder: Path) -> Path:
    """Draw the time series of the logged signals that ask for a plot."""
    return signals.draw(load(folder))
