"""Figures of trials from columns: those of :mod:`maxent_ray.report.trial_summary`, fast enough for a live page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from maxent_ray.core import signals
from maxent_ray.core.relative_errors import relative_error
from maxent_ray.core.signals import LoggedSignal
from maxent_ray.dashboard.columns import Floats
from maxent_ray.dashboard.trial_rows import TrialRows
from maxent_ray.evaluation.metric_intervals import HeldOut
from maxent_ray.report.run_records import RunRecords
from maxent_ray.report.summary import Summary, join_trials
from maxent_ray.report.trial_summary import TrialSummary, settings_of

NO_ROWS = TrialRows()
"""Rows of a trial that trained no step, such as the warm start."""


def summarise_columns(
    records: RunRecords,
    rows: Mapping[str, TrialRows],
    objectives: Mapping[str, str],
    held_out: Mapping[str, HeldOut],
) -> Summary:
    """Summarise a run as :func:`maxent_ray.report.summary.build_summary` does; running counts are left out.

    Args:
        records: Everything but the points.
        rows: Trial → its rows.
        objectives: Trial → the objective that it ended with; has every trial, in order.
        held_out: Trial → its held-out estimates.
    """
    trials = [
        _summarise_trial(records, trial, objective, rows.get(trial, NO_ROWS), held_out.get(trial))
        for trial, objective in objectives.items()
    ]
    summary = join_trials(records, trials)
    return replace(
        summary,
        objectives=tuple(
            replace(each, signals={**each.signals, **_medians([rows.get(trial, NO_ROWS) for trial in each.trials])})
            for each in summary.objectives
        ),
    )


def _summarise_trial(
    records: RunRecords, trial: str, objective: str, rows: TrialRows, held_out: HeldOut | None
) -> TrialSummary:
    evaluation = records.evaluations.get(trial)
    window = records.config.tune.perturbation_interval
    return TrialSummary(
        trial=trial,
        objective=objective,
        finished=evaluation is not None,
        steps=rows.last_step,
        score=_mean(rows.series(records.config.score_signal)[-window:]),
        signals={each.key: _figure(each, rows, window) for each in signals.SIGNALS if each.summary is not None},
        entropy_error=_tracking_error(rows, "entropy"),
        kl_error=_tracking_error(rows, "kl"),
        clones_received=sum(clone.recipient == trial for clone in records.clones),
        clones_donated=sum(clone.donor == trial for clone in records.clones),
        reasons={},
        warnings=(),
        settings=settings_of(records, trial),
        held_out=held_out,
        stopped=records.stops.get(trial),
    )


def _figure(signal: LoggedSignal, rows: TrialRows, window: int) -> float | None:
    if signal.summary == "total":
        return None
    values = rows.series(signal.name)
    match signal.summary:
        case "last":
            return _mean(values[-1:])
        case "mean":
            return _mean(values[-window:])
        case _:
            return _median(values)


def _medians(trials: list[TrialRows]) -> dict[str, float | None]:
    return {
        each.key: _median(np.concatenate([rows.series(each.name) for rows in trials]))
        for each in signals.SIGNALS
        if each.summary == "median"
    }


def _tracking_error(rows: TrialRows, signal: str) -> float | None:
    values, targets = rows.series(signal), rows.series(signals.target_of(signal))
    scales = np.where(targets > 0, targets, 1.0)  # as relative_errors.usual_scale
    if signal in signals.SCALES:
        own = rows.series(signals.SCALES[signal])
        scales = np.where(np.isfinite(own), own, scales)
    errors = relative_error(values, targets, scales)
    average = _mean(errors[len(errors) - math.ceil(len(errors) / 3) :])
    return None if average is None else abs(average)


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def _median(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else None
