"""Acceptance bars of the hypergradient modes, and the measurements compared with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from unroll_accuracy import Accuracy
from unroll_cost import Memory, Time
from unroll_methods import PLAIN, TORCHOPT

TIME = {"forward": 5.0, "reverse": 3.2, "first_order": 1.6}
"""Largest ratio to the plain K steps."""
FORWARD_GROWTH = 1.05
"""Largest peak at the largest K over that at K = 1."""
CHECKPOINT_SHARE = 0.5
"""Largest share of torchopt's memory at the largest K."""
FIRST_ORDER_MEMORY = 1.1
"""Largest ratio to the plain steps' memory."""
AGREEMENT = {"float64": 1e-9, "float32": 1e-5}
"""Largest relative difference of two exact modes, or of one and central differences."""


@dataclass(frozen=True)
class Bar:
    """One bar, at the K with the worst measurement."""

    name: str
    measured: float
    limit: float
    steps: int

    @property
    def holds(self) -> bool:
        """True when the measurement is within the bar."""
        return self.measured <= self.limit


def judge(
    times: Mapping[tuple[str, int], Time],
    memories: Mapping[tuple[str, int], Memory],
    accuracy: Sequence[Accuracy],
) -> list[Bar]:
    """All bars that these measurements cover; the benchmark may have run in part."""
    return [*_time_bars(times), *_memory_bars(memories), *_accuracy_bars(accuracy)]


def _time_bars(times: Mapping[tuple[str, int], Time]) -> Iterator[Bar]:
    for method, limit in TIME.items():
        ratios = {steps: cost.ratio for (name, steps), cost in times.items() if name == method}
        if ratios:
            worst = max(ratios, key=lambda steps: ratios[steps])
            yield Bar(f"{method}: time over plain steps", ratios[worst], limit, worst)
            largest = max(ratios)
            if largest != worst:
                yield Bar(f"{method}: time over plain steps", ratios[largest], limit, largest)


def _memory_bars(memories: Mapping[tuple[str, int], Memory]) -> Iterator[Bar]:
    if not memories:
        return
    counts = sorted({steps for _, steps in memories})
    for what in ("process", "unroll"):
        peaks = {key: float(getattr(memory, what)) for key, memory in memories.items()}
        if ("forward", 1) in peaks:
            ratio = peaks["forward", counts[-1]] / peaks["forward", 1]
            yield Bar(f"forward: peak ({what}) over that at K = 1", ratio, FORWARD_GROWTH, counts[-1])
        if ("reverse+checkpoint", counts[-1]) in peaks and (TORCHOPT, counts[-1]) in peaks:
            ratio = peaks["reverse+checkpoint", counts[-1]] / peaks[TORCHOPT, counts[-1]]
            yield Bar(f"reverse+checkpoint: peak ({what}) over torchopt's", ratio, CHECKPOINT_SHARE, counts[-1])
        ratios = {k: peak / peaks[PLAIN, k] for (method, k), peak in peaks.items() if method == "first_order"}
        if ratios:
            worst = max(ratios, key=lambda steps: ratios[steps])
            yield Bar(f"first_order: peak ({what}) over plain steps", ratios[worst], FIRST_ORDER_MEMORY, worst)


def _accuracy_bars(accuracy: Sequence[Accuracy]) -> Iterator[Bar]:
    pairs = {
        "forward_reverse": "forward and reverse",
        "forward_differences": "forward and central differences",
        "reverse_differences": "reverse and central differences",
    }
    for dtype, limit in AGREEMENT.items():
        for field, words in pairs.items():
            found = {line.steps: float(getattr(line, field)) for line in accuracy if line.dtype == dtype}
            if found:
                worst = max(found, key=lambda steps: found[steps])
                yield Bar(f"{words}, {dtype}", found[worst], limit, worst)
