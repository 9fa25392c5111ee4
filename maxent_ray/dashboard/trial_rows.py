"""Rows of one trial as columns: superseded rows dropped, ranks reduced, as :mod:`maxent_ray.report.points` does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maxent_ray.core.signals import SIGNALS
from maxent_ray.dashboard.columns import Fields, Floats
from maxent_ray.dashboard.table import Table

NUMERIC = tuple(signal for signal in SIGNALS if signal.over_ranks is not None)
NAMES = tuple(signal.name for signal in NUMERIC)
ROW_FIELDS = Fields(texts=("trial", "objective"), integers=("step", "rank"), numbers=("segment", *NAMES))
_STEP, _RANK, _FIRST_SIGNAL = 0, 1, 3


class TrialRows:
    """Rows that led to a trial's newest policy; more are appended while it trains.

    Example:
        >>> rows = TrialRows()
        >>> for steps in [0, 1, 2], [1]:  # resumed at step 1
        ...     numbers = np.zeros((len(NAMES) + 3, len(steps)))
        ...     numbers[0] = steps
        ...     rows.append(numbers, "analytic")
        >>> rows.steps.tolist(), rows.series("tau").tolist()
        ([1, 2], [0.0, 0.0])
    """

    def __init__(self) -> None:
        self.objective = ""
        """Objective of the newest row."""
        self._table = Table(len(NAMES) + _FIRST_SIGNAL)
        self._newest: dict[int, int] = {}  # rank → step
        self._order: _Order | None = None

    def append(self, numbers: Floats, objective: str) -> None:
        """Add rows in the order of the file.

        Args:
            numbers: ``ROW_FIELDS``' integers and numbers of each row.
            objective: Of the last of them.
        """
        self._table.append(numbers)
        self.objective = objective
        self._order = None
        if not self._grows(numbers[_STEP], numbers[_RANK]):
            steps, ranks = self._table.values[_STEP].tolist(), self._table.values[_RANK].tolist()
            live = live_rows(steps, ranks)
            self._table.keep(live)
            self._newest = {int(ranks[row]): int(steps[row]) for row in live}

    @property
    def steps(self) -> NDArray[np.int64]:
        """Policy steps done, of every point."""
        return self._points().steps

    @property
    def last_step(self) -> int:
        """Policy steps done in all."""
        return max(self._newest.values(), default=-1) + 1

    def series(self, signal: str) -> Floats:
        """One value for each of ``steps``; NaN where no rank knows it."""
        place = NAMES.index(signal)
        return self._points().reduce(self._table.values[_FIRST_SIGNAL + place], str(NUMERIC[place].over_ranks))

    def _points(self) -> _Order:
        if self._order is None:
            self._order = _Order(self._table.values[_STEP])
        return self._order

    def _grows(self, steps: Floats, ranks: Floats) -> bool:
        """True if no rank repeats a step or goes back; notes the newest step of each."""
        for rank in np.unique(ranks).astype(int).tolist():
            own = steps[ranks == rank]
            if own[0] <= self._newest.get(rank, -1) or (np.diff(own) <= 0).any():
                return False
            self._newest[rank] = int(own[-1])
        return True


def live_rows(steps: Sequence[float], ranks: Sequence[float]) -> NDArray[np.int64]:
    """Places of the rows that led to the newest policy: whenever a rank repeats a step, that step and later ones go."""
    live: dict[float, dict[float, int]] = {}
    for place, (step, rank) in enumerate(zip(steps, ranks, strict=True)):
        if rank in live.get(step, {}):
            for superseded in [other for other in live if other >= step]:
                del live[superseded]
        live.setdefault(step, {})[rank] = place
    return np.array(sorted(place for ranks_of in live.values() for place in ranks_of.values()), dtype=np.int64)


class _Order:
    """Rows sorted by step, and the places where a new step begins."""

    def __init__(self, steps: Floats) -> None:
        self.single = bool((np.diff(steps) > 0).all())
        self._sorted = np.arange(len(steps)) if self.single else np.argsort(steps, kind="stable")
        ordered = steps[self._sorted]
        self._starts = np.flatnonzero(np.diff(ordered, prepend=-1.0))
        self.steps: NDArray[np.int64] = ordered[self._starts].astype(np.int64) + 1

    def reduce(self, values: Floats, how: str) -> Floats:
        """Reduce the ranks' values of each step: the mean, sum or largest of the known ones, or the first."""
        if self.single:
            return values.copy()
        values = values[self._sorted]
        known = np.isfinite(values)
        count = np.add.reduceat(known, self._starts, dtype=float)
        if how == "max":
            found = np.maximum.reduceat(np.where(known, values, -np.inf), self._starts)
        elif how == "first":
            place = np.minimum.reduceat(np.where(known, np.arange(len(values)), len(values) - 1), self._starts)
            found = values[place]
        else:
            found = np.add.reduceat(np.where(known, values, 0.0), self._starts)
            found = found / np.maximum(count, 1) if how == "mean" else found
        return np.where(count > 0, found, np.nan)
