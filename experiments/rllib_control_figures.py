"""Figures of :mod:`rllib_control`: KL and H over iterations, and errors by arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rllib_control import ARMS, BURN_IN, TARGETS
from rllib_tasks import TASKS

from maxent_ray.report.plots.canvas import agg_figure

COLOURS = dict(zip(ARMS, ("0.55", "#D55E00", "#56B4E9", "#E69F00", "#0072B2", "#009E73", "#CC79A7"), strict=True))
CURVES = ("rllib", "fast once", "auto")
"""Arms that are drawn by iteration, with quartiles: all of them would hide each other."""
LABELS = {"fixed": "constant", "rllib": "RLlib's rule", "truncated_backprop": "truncated backprop"}


def draw_curves(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """KL/KL* (and H in the last column) of `CURVES`: medians over seeds; shaded: quartiles."""
    figure = agg_figure(figsize=(16, 13), layout="constrained")
    columns = [(targets, "kl") for targets in TARGETS] + [(list(TARGETS)[-1], "entropy")]
    axes = figure.subplots(len(TASKS), len(columns), sharex="col", squeeze=False)
    for row, (name, task) in zip(axes, TASKS.items(), strict=True):
        for panel, (targets, quantity) in zip(row, columns, strict=True):
            scale = TARGETS[targets] if quantity == "kl" else 1.0
            for arm in CURVES:
                chosen = [
                    line for line in lines if (line["task"], line["targets"], line["arm"]) == (name, targets, arm)
                ]
                _draw_curve(panel, np.array([line[quantity] for line in chosen]) / scale, arm)
            panel.axhline(1.0 if quantity == "kl" else task.target_entropy, color="black", linewidth=0.8)
            panel.axvspan(0, BURN_IN, color="0.95", zorder=-1)
            panel.grid(alpha=0.3)
            if quantity == "kl":
                panel.set_yscale("log")
                panel.set_ylim(0.08, 12)
        row[0].set_ylabel(f"{name}\nKL / KL*")
        row[-1].set_ylabel("H (nats)")
    for panel, (targets, quantity) in zip(axes[0], columns, strict=True):
        panel.set_title(targets if quantity == "kl" else f"H in '{targets}'")
    for panel in axes[-1]:
        panel.set_xlabel("iteration (shaded: not judged)")
    _add_legend(figure, CURVES)
    figure.savefig(path, dpi=90)


def _draw_curve(panel: Axes, values: np.ndarray[Any, Any], arm: str) -> None:
    if not values.size:
        return
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    panel.plot(middle, color=COLOURS[arm], linewidth=1.5)
    panel.fill_between(range(len(middle)), low, high, color=COLOURS[arm], alpha=0.15, linewidth=0)


def draw_errors(outcomes: Mapping[tuple[str, str, str], Mapping[int, Any]], path: Path) -> None:
    """Mean error and return of every run and, wider, their medians: a column of panels for each task."""
    figure = agg_figure(figsize=(16, 7), layout="constrained")
    axes = figure.subplots(2, len(TASKS), sharex=True, squeeze=False)
    for column, task in enumerate(TASKS):
        for panel, name in zip(axes[:, column], ("mean_error", "episode_return"), strict=True):
            for place, targets in enumerate(TARGETS):
                for shift, arm in enumerate(ARMS, -(len(ARMS) // 2)):
                    found = [getattr(each, name) for each in outcomes.get((task, targets, arm), {}).values()]
                    _draw_runs(panel, place + shift * 0.12, [v for v in found if math.isfinite(v)], arm)
            panel.grid(axis="y", alpha=0.3)
        axes[0, column].set(title=task, ylim=(0, None))
        axes[1, column].set_xticks(range(len(TARGETS)), TARGETS, rotation=20, ha="right")
    axes[0, 0].set_ylabel("mean |KL − KL*| / KL*")
    axes[1, 0].set_ylabel("return, last quarter")
    _add_legend(figure, ARMS)
    figure.savefig(path, dpi=90)


def _draw_runs(panel: Axes, place: float, values: Sequence[float], arm: str) -> None:
    if values:
        panel.plot([place] * len(values), values, ".", color=COLOURS[arm], markersize=4, alpha=0.6)
        panel.plot(place, median(values), "_", color=COLOURS[arm], markersize=10, markeredgewidth=2.2)


def _add_legend(figure: Figure, arms: Sequence[str]) -> None:
    lines = [Line2D([], [], color=COLOURS[arm], linewidth=2.5) for arm in arms]
    labels = [LABELS.get(arm, arm) for arm in arms]
    figure.legend(lines, labels, loc="outside upper center", ncols=len(arms), frameon=False)
