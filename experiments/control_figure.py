"""Figure of :mod:`control`: KL, H, β and τ of all runs from each start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maxent_ray.report.plots import style

QUANTITIES = {"kl": "KL / KL*", "entropy": "H / H*", "beta": "β", "tau": "τ"}
COLOURS = ("#0072B2", "#D55E00", "#009E73")


def draw_trajectories(
    runs: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    names: Mapping[str, str],
    changes: Mapping[str, int],
    path: Path,
) -> None:
    """Draw a column for each start, a row for each quantity: medians over seeds as lines, ranges as bands.

    Args:
        runs: (objective, start) → digests of all seeds.
        names: Start → what the page calls it.
        changes: Start → step at which KL* changes, where it does.
        path: File of the image.
    """
    objectives, starts = (list(dict.fromkeys(key[i] for key in runs)) for i in (0, 1))
    several = any(len(records) > 1 for records in runs.values())
    figure = style.figure(
        "How the loops start, follow a changed target, and end",
        f"{'Lines: medians over seeds; bands: their ranges. ' if several else ''}KL and H are 5-step means; "
        "grey: within 10 % of the target; dashed: KL* changes.",
        width=4 * len(starts),
        height=12,
    )
    axes = figure.subplots(len(QUANTITIES), len(starts), sharex=True, sharey="row", squeeze=False)
    for column, start in enumerate(starts):
        for row, (quantity, label) in enumerate(QUANTITIES.items()):
            axis = axes[row, column]
            style.style(axis)
            if column == 0:
                style.label_y(axis, label)
            if quantity in ("beta", "tau"):
                axis.set_yscale("log")
            else:
                axis.axhspan(0.9, 1.1, color="#eeeeee", zorder=0)
                axis.axhline(1.0, color="#999999", linewidth=0.8, zorder=1)
            if start in changes:
                axis.axvline(changes[start], color="#555555", linewidth=1, linestyle="--", zorder=1)
            for objective, colour in zip(objectives, COLOURS, strict=False):
                if (objective, start) not in runs:
                    continue
                values = _ratios(runs[objective, start], quantity)
                steps = np.arange(values.shape[1])
                axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
                axis.plot(steps, np.median(values, 0), color=colour, linewidth=1.3, label=objective)
        axes[0, column].set_title(names[start].replace("\\", ""), fontsize=11)
        axes[-1, column].set_xlabel("policy step")
    axes[0, 0].legend(frameon=False)
    style.save(figure, path)


def _ratios(records: Sequence[Mapping[str, Any]], quantity: str) -> np.ndarray:
    """``[seeds][steps]``: values; those that have a target over it, as 5-step means."""
    values = np.array([record["columns"][quantity] for record in records])
    if quantity in ("beta", "tau"):
        return values
    ratios = values / np.array([record["columns"][f"target_{quantity}"] for record in records])
    padded = np.pad(ratios, ((0, 0), (2, 2)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 5, axis=1).mean(-1)
