"""Points of a sweep: what each target led to, and which points are on the Pareto front."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from maxent_ray.evaluation.metric_intervals import HeldOut
from maxent_ray.report.formatting import DASH, setting
from maxent_ray.report.labels import REFERENCES, objective_label, setting_label
from maxent_ray.report.numbers import natural_key, number
from maxent_ray.report.run_records import RunRecords
from maxent_ray.report.trial_summary import TrialSummary

State = Literal["finished", "stopped", "unfinished"]
TARGETS = ("controller.target_kl", "controller.target_entropy", "controller.target_entropy_fraction")
"""Targets, of which the first stands on the horizontal axis where two are searched over."""
FILLED = 0.5
"""Share of the cells with a point, from which a heat map is drawn; below it, points are drawn where they are."""


@dataclass(frozen=True)
class SweepPoint:
    """One objective, trained at one point."""

    trial: str
    objective: str
    settings: Mapping[str, Any]
    state: State
    stopped_at: int | None
    """Policy steps after which it was stopped early."""
    entropy_error: float | None
    kl_error: float | None
    held_out: HeldOut | None

    def value(self, measure: str) -> float | None:
        """A tracking error or a held-out metric of a finished trial; None where it is not known.

        Args:
            measure: ``entropy_error``, ``kl_error``, or the name of a held-out metric.
        """
        if self.state != "finished" or self.held_out is None:
            return None
        if measure in ("entropy_error", "kl_error"):
            return self.entropy_error if measure == "entropy_error" else self.kl_error
        return self.held_out[measure].value


@dataclass(frozen=True)
class SweepSummary:
    """All points of a sweep, planned or trained, and how they are laid out."""

    layout: Literal["heat_map", "scatter", "line"]
    """Over two targets that fill a grid, over two others, or over one setting."""
    x: str
    """Dotted key on the horizontal axis."""
    y: str | None
    """Dotted key on the vertical axis; None for a line."""
    panels: tuple[str, ...]
    """Further keys that were searched over: a panel for each of their values."""
    points: tuple[SweepPoint, ...]
    front: tuple[str, ...]
    """Trials that no other finished trial beats both in mean@k and in coverage@k, the highest mean first."""

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values."""
        return asdict(self)

    def values(self, key: str) -> list[Any]:
        """Values of a setting among the points, numbers in order, each once."""
        found = {json.dumps(point.settings.get(key)): point.settings.get(key) for point in self.points}
        return sorted(found.values(), key=lambda value: math.inf if (known := number(value)) is None else known)

    def groups(self) -> dict[str, list[SweepPoint]]:
        """Points that share a panel, under its heading: objective, and the values of further settings."""
        groups: dict[str, list[SweepPoint]] = {}
        for point in self.points:
            rest = (f"{setting_label(key)} {setting(point.settings.get(key))}" for key in self.panels)
            groups.setdefault(", ".join([objective_label(point.objective), *rest]), []).append(point)
        return groups

    def label(self, point: SweepPoint) -> str:
        """Values of the targets at a point, as ``H* .9, KL* .05``, and what else was searched over."""
        keys = [key for key in (self.y, self.x, *self.panels) if key is not None]
        return ", ".join(f"{setting_label(key)} {short(point.settings.get(key))}" for key in keys)


def summarise_sweep(records: RunRecords, trials: Sequence[TrialSummary]) -> SweepSummary | None:
    """Lay out the points of a sweep; None for a comparison, for one trial, and where no setting differs.

    A run of before its command was recorded counts as a sweep where several trials kept what they began with.
    """
    if records.command not in (None, "sweep") or records.clones:
        return None
    points = _points(records, trials)
    keys = [key for key in dict.fromkeys(key for point in points for key in point.settings) if _differs(points, key)]
    if not keys:
        return None
    targets = [key for key in TARGETS if key in keys]
    x, y = (targets[0], targets[1]) if len(targets) > 1 else ((targets or keys)[0], None)
    return SweepSummary(
        layout="line" if y is None else "heat_map" if _fills_grid(points, x, y) else "scatter",
        x=x,
        y=y,
        panels=tuple(key for key in keys if key not in (x, y)),
        points=tuple(points),
        front=pareto_front({point.trial: (point.value("mean"), point.value("coverage")) for point in points}),
    )


def pareto_front(values: Mapping[str, tuple[float | None, float | None]]) -> tuple[str, ...]:
    """Find the names that no other beats in one value without losing in the other; unknown values beat none.

    Example:
        >>> pareto_front({"a": (0.4, 0.2), "b": (0.3, 0.4), "c": (0.3, 0.3), "d": (None, 0.9)})
        ('a', 'b')
    """
    known = {name: (a, b) for name, (a, b) in values.items() if a is not None and b is not None}

    def beaten(own: tuple[float, float]) -> bool:
        return any(other != own and other[0] >= own[0] and other[1] >= own[1] for other in known.values())

    front = (name for name, value in known.items() if not beaten(value))
    return tuple(sorted(front, key=lambda name: (-known[name][0], natural_key(name))))


def absence(point: SweepPoint | None) -> str:
    """Say why there is no value at a point: it was not tried (None), was stopped early, or has not finished.

    Example:
        >>> absence(None)
        'not tried'
    """
    if point is None:
        return "not tried"
    if point.stopped_at is not None:
        return f"stopped at {point.stopped_at}"
    return "not known" if point.state == "finished" else "not finished"


def absence_mark(point: SweepPoint | None) -> str:
    """Write the same in a few letters."""
    return f"at {point.stopped_at}" if point is not None and point.stopped_at is not None else DASH


def short(value: object) -> str:
    """Write a setting's value in few letters: numbers without zeros that say nothing.

    Example:
        >>> short(0.9), short(0.05), short(0.031483), short("adam"), short(12.0)
        ('.9', '.05', '.0315', 'adam', '12')
    """
    known = number(value)
    if known is None:
        return setting(value)
    return f"{known:.3g}".replace("0.", ".", 1) if abs(known) < 1 else f"{known:.3g}"


def _points(records: RunRecords, trials: Iterable[TrialSummary]) -> list[SweepPoint]:
    """All points, those that are only planned included, in natural order."""
    trained = {trial.trial: _point(trial) for trial in trials if trial.objective not in REFERENCES and trial.settings}
    waiting = {
        name: SweepPoint(name, each.objective, each.settings, "unfinished", None, None, None, None)
        for name, each in records.planned.items()
        if each.objective not in REFERENCES
    }
    return [point for _, point in sorted({**waiting, **trained}.items(), key=lambda item: natural_key(item[0]))]


def _point(trial: TrialSummary) -> SweepPoint:
    state: State = "finished" if trial.finished else "unfinished" if trial.stopped is None else "stopped"
    at = None if trial.stopped is None else trial.stopped.step
    errors = trial.entropy_error, trial.kl_error
    return SweepPoint(trial.trial, trial.objective, trial.settings, state, at, *errors, trial.held_out)


def _differs(points: Sequence[SweepPoint], key: str) -> bool:
    return len({json.dumps(point.settings.get(key)) for point in points}) > 1


def _fills_grid(points: Sequence[SweepPoint], x: str, y: str) -> bool:
    """True where the points are at most a few values of each target, and most pairs of these have one."""
    pairs = {(point.settings.get(x), point.settings.get(y)) for point in points}
    columns, rows = ({pair[axis] for pair in pairs} for axis in (0, 1))
    return len(pairs) >= FILLED * len(columns) * len(rows)
