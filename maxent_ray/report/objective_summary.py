"""Summary of one objective over its trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from maxent_ray.core import signals
from maxent_ray.evaluation.metric_intervals import HeldOut, estimate_differences, estimate_metrics
from maxent_ray.report.labels import BASELINE, REFERENCES
from maxent_ray.report.numbers import mean, median_of_known
from maxent_ray.report.run_records import RunRecords
from maxent_ray.report.trial_summary import TrialSummary


@dataclass(frozen=True)
class ObjectiveSummary:
    """One objective, over its trials; references have one trial."""

    objective: str
    reference: bool
    trials: tuple[str, ...]
    finished: tuple[str, ...]
    best_trial: str
    """By training score, among the finished trials if there are any."""
    best_settings: Mapping[str, Any]
    score: float | None
    """Training score of the best trial."""
    score_all: float | None
    """Mean over all finished trials, or over all trials while none has finished."""
    signals: Mapping[str, float | None]
    """Figures of logged signals: ``best_tau``, ``best_beta`` … are the best trial's; a median, such as
    ``seconds_per_step``, is over the steps of all trials."""
    held_out: HeldOut | None
    """Of the best trial."""
    held_out_all: HeldOut | None
    """Mean over all finished trials."""
    entropy_error: float | None
    """Mean over all trials, of which those that were stopped early do not count."""
    kl_error: float | None
    against_baseline: HeldOut | None
    """Best trial minus plain GRPO, paired over prompts."""

    @property
    def best_values(self) -> tuple[HeldOut | None, float | None]:
        """Held-out metrics and training score of the best trial."""
        return self.held_out, self.score

    @property
    def mean_values(self) -> tuple[HeldOut | None, float | None]:
        """The same, as means over the finished trials."""
        return self.held_out_all, self.score_all

    def to_dict(self) -> dict[str, Any]:
        """Flat: figures of signals stand beside the other fields."""
        values = asdict(self)
        figures = values.pop("signals")
        return {**values, **figures}


def summarise_objective(records: RunRecords, trials: Sequence[TrialSummary], objective: str) -> ObjectiveSummary:
    """Summarise the trials that ended with an objective.

    Args:
        records: The run's.
        trials: Summaries of all trials of the run.
        objective: One that some trial ended with.
    """
    own = [trial for trial in trials if trial.objective == objective]
    finished = [trial for trial in own if trial.finished]
    best = max(finished or own, key=lambda trial: -math.inf if trial.score is None else trial.score)
    metrics = [found for trial in finished if (found := records.held_out(trial.trial)) is not None]
    return ObjectiveSummary(
        objective=objective,
        reference=objective in REFERENCES,
        trials=tuple(trial.trial for trial in own),
        finished=tuple(trial.trial for trial in finished),
        best_trial=best.trial,
        best_settings=best.settings,
        score=best.score,
        score_all=mean(trial.score for trial in finished or own),
        signals=_signals(records, own, best),
        held_out=best.held_out,
        held_out_all=estimate_metrics(metrics) if metrics else None,
        entropy_error=mean(trial.entropy_error for trial in own if trial.stopped is None),
        kl_error=mean(trial.kl_error for trial in own if trial.stopped is None),
        against_baseline=_against_baseline(records, best) if objective != BASELINE else None,
    )


def _signals(records: RunRecords, own: Sequence[TrialSummary], best: TrialSummary) -> dict[str, float | None]:
    points = [point for trial in own for point in records.points.get(trial.trial, ())]
    of_best = {
        f"best_{each.key}": best.signals[each.key] for each in signals.SIGNALS if each.summary in ("last", "mean")
    }
    medians = {
        each.key: median_of_known(point[each.name] for point in points)
        for each in signals.SIGNALS
        if each.summary == "median"
    }
    return {**of_best, **medians}


def _against_baseline(records: RunRecords, best: TrialSummary) -> HeldOut | None:
    baseline = next((each.metrics for each in records.evaluations.values() if each.objective == BASELINE), None)
    own = records.held_out(best.trial)
    return None if baseline is None or own is None else estimate_differences(own, baseline)
