"""Time series of a trial: its rows, one point for each policy step, reduced over its ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from maxent_ray.core import signals
from maxent_ray.report.numbers import number
from maxent_ray.storage.json_lines import Record

_REDUCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "mean": fmean,
    "sum": sum,
    "max": max,
    "first": lambda values: values[0],
}


@dataclass(frozen=True)
class Point:
    """One policy step of one trial: ``point["tau"]`` is a signal, None where no rank knows it."""

    step: int
    """Policy steps done, this one included."""
    segment: int
    """Clones that the trial had received before."""
    objective: str
    signals: Mapping[str, float | None]

    def __getitem__(self, signal: str) -> float | None:
        return self.signals[signal]

    def deviation(self, signal: str) -> float | None:
        """Relative distance of a signal from its target, such as (KL − KL*)/KL*."""
        return signals.deviation(self, signal)


def read_points(rows: Iterable[Record]) -> dict[str, tuple[Point, ...]]:
    """Group rows by trial and step, following each trial back whenever it returned to an earlier step."""
    trials: dict[str, dict[int, dict[int, Record]]] = {}
    for row in rows:
        steps = trials.setdefault(row["trial"], {})
        step, rank = row["step"], row["rank"]
        if rank in steps.get(step, {}):
            for superseded in [other for other in steps if other >= step]:
                del steps[superseded]
        steps.setdefault(step, {})[rank] = row
    return {
        trial: tuple(_point(step, list(steps[step].values())) for step in sorted(steps))
        for trial, steps in trials.items()
    }


def _point(step: int, ranks: Sequence[Record]) -> Point:
    return Point(
        step=step + 1,
        segment=int(number(ranks[0].get("segment")) or 0),
        objective=ranks[0]["objective"],
        signals={
            signal.name: _over_ranks(ranks, signal.name, _REDUCTIONS[signal.over_ranks])
            for signal in signals.SIGNALS
            if signal.over_ranks is not None
        },
    )


def _over_ranks(ranks: Sequence[Record], name: str, reduce: Callable[[Sequence[float]], float]) -> float | None:
    known = [value for rank in ranks if (value := number(rank.get(name))) is not None]
    return reduce(known) if known else None
