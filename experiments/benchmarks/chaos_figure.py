"""Figure of a soak: τ and β through all faults, and the seconds of each step."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from chaos_rank import Step

from maxent_ray.report.plots.canvas import agg_figure

COLOURS = {"controller killed": "0.75", "controller stopped": "#f0e442", "rank killed": "#d55e00"}


def draw(steps: Sequence[Step], faults: Mapping[str, Sequence[float]], path: Path) -> None:
    """Write the figure.

    Args:
        steps: Steps of one rank, over all its restarts.
        faults: Kind → times.
        path: Of the PNG.
    """
    times = [step.time for step in steps]
    figure = agg_figure(figsize=(9, 5), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot([step.tau for step in steps], label="τ", linewidth=1)
    top.plot([step.beta for step in steps], label="β", linewidth=1)
    top.set(yscale="log", ylabel="coefficient", title="every coefficient is that of a bare loop, whatever is killed")
    bottom.plot(range(1, len(times)), [after - before for before, after in pairwise(times)], linewidth=0.8)
    bottom.set(yscale="log", ylabel="step (s)", xlabel="steps done, those done again after a rank's death included")
    for axes in (top, bottom):
        for kind, moments in faults.items():
            for index, moment in enumerate(moments):
                label = kind if axes is top and index == 0 else None
                axes.axvline(bisect(times, moment), color=COLOURS[kind], linewidth=0.8, zorder=0, label=label)
    top.legend(loc="upper center", ncols=5, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
