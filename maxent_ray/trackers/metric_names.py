"""Names of metrics, the same in every tracker and every version: ``controller/tau``, ``train/reward``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from maxent_ray.core import signals
from maxent_ray.core.answer_metrics import LABELS
from maxent_ray.core.signals import LoggedSignal
from maxent_ray.report.numbers import number
from maxent_ray.report.points import Point
from maxent_ray.trackers.interface import Series

CLONES = "trial/clones"


def signal_name(signal: LoggedSignal) -> str:
    """Name of a logged signal: that of its field in a row, after the part of the run that it belongs to.

    Example:
        >>> [signal_name(signal) for signal in signals.SIGNALS if signal.name in ("tau", "reward", "seconds")]
        ['controller/tau', 'train/reward', 'time/seconds']
    """
    part = "controller" if signal.exporter == "decision" else "time" if signal.unit == "s" else "train"
    return f"{part}/{signal.name}"


def series_of(points: Iterable[Point]) -> Series:
    """Values of a trial's steps; what is missing or not finite is left out."""
    names = {each.name: signal_name(each) for each in signals.SIGNALS if each.over_ranks is not None}
    return [
        (
            point.step,
            {CLONES: float(point.segment)}
            | {names[name]: value for name, value in point.signals.items() if value is not None},
        )
        for point in points
    ]


def held_out_values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Held-out metrics of an evaluation, by name; one without a value is left out, as a coverage that does not exist.

    Example:
        >>> held_out_values({"mean": 0.5, "pass_rate": 1.0, "distinct": 2.0, "coverage": None, "samples": 8})
        {'held_out/mean@8': 0.5, 'held_out/pass@8': 1.0, 'held_out/distinct@8': 2.0}
    """
    k = metrics.get("samples")
    values = {f"held_out/{label}@{k}": number(metrics.get(metric)) for metric, label in LABELS.items()}
    return {name: value for name, value in values.items() if value is not None}
