"""Summary of one trial: its training, its tracking errors, its held-out metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from maxent_ray.core import signals
from maxent_ray.core.signals import LoggedSignal
from maxent_ray.evaluation.metric_intervals import HeldOut, estimate_metrics
from maxent_ray.report.numbers import mean, median_of_known
from maxent_ray.report.points import Point
from maxent_ray.report.run_records import RunRecords, Stopped, Warned


@dataclass(frozen=True)
class TrialSummary:
    """One trial or reference."""

    trial: str
    objective: str
    """Objective that it ended with."""
    finished: bool
    """It has trained to its end, and was evaluated where something is held out."""
    steps: int
    """Policy steps that led to its final policy."""
    score: float | None
    """Mean of the population's metric over the last perturbation window of training."""
    signals: Mapping[str, float | None]
    """Figure of each logged signal that has one: ``tau`` and ``beta`` at the end, ``seconds_per_step`` …"""
    entropy_error: float | None
    """|mean of (H − H*)/H*| over the last third of the steps."""
    kl_error: float | None
    """|mean of (KL − KL*)/KL*| over the last third of the steps."""
    clones_received: int
    clones_donated: int
    reasons: Mapping[str, int]
    """Reason → number of decisions."""
    warnings: tuple[Warned, ...]
    """Alarms: coefficients that had no effect."""
    settings: Mapping[str, Any]
    stopped: Stopped | None
    """Its early stop."""
    held_out: HeldOut | None

    def to_dict(self) -> dict[str, Any]:
        """Flat: figures of signals stand beside the other fields."""
        values = asdict(self)
        figures = values.pop("signals")
        return {**values, **figures}


def summarise_trial(records: RunRecords, trial: str) -> TrialSummary:
    """Summarise what was recorded of one trial."""
    points = records.points.get(trial, ())
    evaluation = records.evaluations.get(trial)
    received = [clone for clone in records.clones if clone.recipient == trial]
    window = points[-records.config.tune.perturbation_interval :]
    score, held_out = records.config.score_signal, records.held_out(trial)
    return TrialSummary(
        trial=trial,
        objective=records.objective(trial),
        finished=evaluation is not None,
        steps=points[-1].step if points else 0,
        score=mean(point[score] for point in window),
        signals={
            signal.key: _figure(signal, records, trial) for signal in signals.SIGNALS if signal.summary is not None
        },
        entropy_error=tracking_error([point.deviation("entropy") for point in points]),
        kl_error=tracking_error([point.deviation("kl") for point in points]),
        clones_received=len(received),
        clones_donated=sum(clone.donor == trial for clone in records.clones),
        reasons=records.reasons.get(trial, {}),
        warnings=records.warnings.get(trial, ()),
        settings=settings_of(records, trial),
        stopped=records.stops.get(trial),
        held_out=None if held_out is None else estimate_metrics([held_out]),
    )


def settings_of(records: RunRecords, trial: str) -> Mapping[str, Any]:
    """Settings that a trial has, or ended with."""
    evaluation, planned = records.evaluations.get(trial), records.planned.get(trial)
    if evaluation is not None:
        return evaluation.settings
    received = [clone.settings for clone in records.clones if clone.recipient == trial]
    return received[-1] if received else planned.settings if planned is not None else {}


def tracking_error(deviations: Sequence[float | None]) -> float | None:
    """Compute |mean| of the relative deviations over the last third of the steps.

    Args:
        deviations: (H − H*)/scale or (KL − KL*)/KL* of every step, None where there is no target.

    Returns:
        A fraction of the target; None when no step of the last third has one.

    Example:
        >>> tracking_error([9.0, 9.0, 9.0, 9.0, 0.5, -0.25])
        0.125
    """
    last_third = deviations[len(deviations) - math.ceil(len(deviations) / 3) :]
    average = mean(last_third)
    return None if average is None else abs(average)


def _figure(signal: LoggedSignal, records: RunRecords, trial: str) -> float | None:
    points: Sequence[Point] = records.points.get(trial, ())
    match signal.summary:
        case "last":
            return points[-1][signal.name] if points else None
        case "mean":
            return mean(point[signal.name] for point in points[-records.config.tune.perturbation_interval :])
        case "median":
            return median_of_known(point[signal.name] for point in points)
        case _:
            return records.totals[signal.name].get(trial)
