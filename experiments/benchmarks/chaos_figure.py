"""The soak as a picture: τ and β through all kills, and what each step took."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from chaos_rank import RankLog


def draw(log: RankLog, kills: Sequence[float], path: Path) -> None:
    """Write the picture.

    Args:
        log: What one rank saw.
        kills: When the controller was killed.
        path: Of the PNG.
    """
    start = log.finished[0]
    times = [moment - start for moment in log.finished]
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    for index, name in ((0, "τ"), (1, "β")):
        top.plot(times, [entry[index] for entry in log.coefficients], label=name, linewidth=1)
    top.set(yscale="log", ylabel="coefficient", title="every kill of the controller (grey): nothing is lost")
    top.legend(loc="upper right")
    bottom.plot(times[1:], [1e3 * (b - a) for a, b in pairwise(times)], linewidth=0.8)
    bottom.set(yscale="log", ylabel="step (ms)", xlabel="seconds")
    for axes in (top, bottom):
        for kill in kills:
            axes.axvline(kill - start, color="0.8", linewidth=0.8, zorder=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
