"""Time and memory of the hypergradient modes against K."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unroll_bars import TIME
from unroll_cost import Memory, Time
from unroll_methods import METHODS, PLAIN

from maxent_ray.report.plots.canvas import agg_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = dict(zip(METHODS, ("0.45", "#0072B2", "#D55E00", "#CC79A7", "#009E73", "#E69F00"), strict=True))
MARKERS = dict(zip(METHODS, ("x", "o", "s", "D", "^", "v"), strict=True))


def draw_costs(
    times: Mapping[tuple[str, int], Time], memories: Mapping[tuple[str, int], Memory], path: Path
) -> None:
    """Two panels, K across: ratio of times with its range and bars, and memory of the unroll."""
    figure = agg_figure(figsize=(10, 4.2), layout="constrained")
    time_axis, memory_axis = figure.subplots(1, 2)
    for method in METHODS:
        style = {"color": COLOURS[method], "marker": MARKERS[method], "markersize": 5, "linewidth": 1.4}
        counts = sorted(steps for name, steps in times if name == method)
        if counts and method != PLAIN:
            costs = [times[method, steps] for steps in counts]
            time_axis.plot(counts, [cost.ratio for cost in costs], label=method, **style)
            time_axis.fill_between(
                counts, [c.low for c in costs], [c.high for c in costs], color=COLOURS[method], alpha=0.15, linewidth=0
            )
        counts = sorted(steps for name, steps in memories if name == method)
        if counts:
            peaks = [memories[method, steps].unroll / 2**20 for steps in counts]
            memory_axis.plot(counts, peaks, label=method, **style)
    for method, limit in TIME.items():
        time_axis.axhline(limit, color=COLOURS[method], linestyle=":", linewidth=1)
    time_axis.set(ylabel="time over the plain K steps", ylim=(0, None), title="Time (dotted: bars)")
    memory_axis.set(ylabel="peak memory of the unroll (MiB)", yscale="log", title="Memory")
    for axis in (time_axis, memory_axis):
        _number_steps(axis, sorted({steps for _, steps in times}))
    memory_axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def _number_steps(axis: Axes, counts: list[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.set_xlabel("K (inner steps)")
    axis.spines[["top", "right"]].set_visible(False)
