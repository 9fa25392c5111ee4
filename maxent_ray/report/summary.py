"""What a comparison found: numbers for every trial and every objective, written as ``summary.json``.

The best trial of an objective is chosen by its training score over the last perturbation window, the score
that population-based training itself goes by; held-out metrics never choose.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from maxent_ray.evaluation.held_out import HeldOutMetrics, bootstrap_interval, paired_interval
from maxent_ray.report.run_records import REFERENCES, Clone, Point, RunRecords, Warned, mean, read_run
from maxent_ray.storage.json_lines import strict

SCHEMA = 1
METRICS = ("mean", "pass_rate", "distinct", "coverage")
BASELINE = "grpo"
"""The objective that all others are paired with."""
_ORDER = ("analytic", "truncated_backprop")
_TRAINING_SCORE: Mapping[str, Callable[[Point], float | None]] = {
    "mean": lambda point: point.reward,
    "pass_rate": lambda point: point.pass_rate,
    "distinct": lambda point: point.distinct,
    "coverage": lambda point: point.coverage,
}


@dataclass(frozen=True)
class Estimate:
    """A mean over held-out prompts with its 95 % bootstrap interval; all None when the task cannot tell."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class HeldOut:
    """The four held-out metrics, or four differences of them."""

    mean: Estimate
    pass_rate: Estimate
    distinct: Estimate
    coverage: Estimate

    def __getitem__(self, metric: str) -> Estimate:
        estimates = (self.mean, self.pass_rate, self.distinct, self.coverage)
        return dict(zip(METRICS, estimates, strict=True))[metric]


@dataclass(frozen=True)
class TrialSummary:
    """One trial or reference."""

    trial: str
    objective: str
    """The objective it ended with."""
    finished: bool
    """It has a held-out evaluation."""
    steps: int
    """Policy steps that led to its final policy."""
    score: float | None
    """Mean of the population's metric over the last perturbation window of training."""
    tau: float | None
    beta: float | None
    entropy_error: float | None
    """|mean of (H − H*)/H*| over the last third of the steps."""
    kl_error: float | None
    """|mean of (KL − KL*)/KL*| over the last third of the steps."""
    seconds_per_step: float | None
    """Median."""
    decided_locally: int | None
    """Rounds that rank 0 decided itself because the actor could not be reached, over all attempts."""
    failed_unrolls: int | None
    """Unrolls of truncated backprop that ran out of memory, over all attempts."""
    clones_received: int
    clones_donated: int
    reasons: Mapping[str, int]
    """Reason → decisions that gave it."""
    warnings: tuple[Warned, ...]
    """Coefficients that were found to do nothing."""
    settings: Mapping[str, Any]
    held_out: HeldOut | None


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
    best_tau: float | None
    best_beta: float | None
    held_out: HeldOut | None
    """Of the best trial."""
    held_out_all: HeldOut | None
    """Mean over all finished trials."""
    entropy_error: float | None
    """Mean over all trials."""
    kl_error: float | None
    seconds_per_step: float | None
    """Median over the steps of all trials."""
    against_baseline: HeldOut | None
    """Best trial minus plain GRPO, paired over prompts."""


@dataclass(frozen=True)
class Summary:
    """A whole comparison."""

    name: str
    mode: str
    metric: str
    """What the best trials are chosen by."""
    window: int
    """Steps of the window that it is taken over."""
    group_size: int
    """G: completions per training prompt."""
    samples: int
    """k of the held-out metrics."""
    prompts: int | None
    """Held-out prompts; None when nothing was evaluated."""
    seed: int
    objectives: tuple[ObjectiveSummary, ...]
    trials: tuple[TrialSummary, ...]
    unfinished: tuple[str, ...]
    """Trials without an evaluation."""
    clones: int
    rows: int
    torn_lines: int
    """Lines skipped because they were cut off."""
    wall_seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON: a number that is not finite becomes None."""
        values: dict[str, Any] = strict({"schema": SCHEMA, **asdict(self)})
        return values

    def trial(self, name: str) -> TrialSummary:
        """One trial by its name."""
        return next(trial for trial in self.trials if trial.trial == name)


def summarise(folder: Path, wall_seconds: float | None = None) -> Summary:
    """Summarise a results folder and write ``summary.json`` into it.

    Args:
        folder: ``results/<name>``, of a finished or an interrupted run.
        wall_seconds: How long the whole job took, if known.

    Raises:
        ConfigError: the folder has no readable ``config.yaml``.
    """
    summary = build_summary(read_run(folder), wall_seconds)
    text = json.dumps(summary.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")
    return summary


def build_summary(records: RunRecords, wall_seconds: float | None = None) -> Summary:
    """The summary of what was read; writes nothing."""
    config = records.config
    trials = tuple(_trial_summary(records, trial) for trial in records.trials())
    objectives = sorted({trial.objective for trial in trials}, key=_objective_order)
    counts = {len(evaluation.metrics.per_prompt.mean) for evaluation in records.evaluations.values()}
    return Summary(
        name=records.folder.name,
        mode=config.tune.mode,
        metric=config.tune.metric,
        window=config.tune.perturbation_interval,
        group_size=config.grpo.group_size,
        samples=config.evaluation.samples,
        prompts=max(counts) if counts else None,
        seed=config.train.seed,
        objectives=tuple(_objective_summary(records, trials, objective) for objective in objectives),
        trials=trials,
        unfinished=tuple(trial.trial for trial in trials if not trial.finished),
        clones=len(records.clones),
        rows=records.rows,
        torn_lines=records.torn_lines,
        wall_seconds=wall_seconds,
    )


def tracking_error(deviations: Sequence[float | None]) -> float | None:
    """|mean| of the relative deviations over the last third of the steps.

    Args:
        deviations: (H − H*)/H* or (KL − KL*)/KL* of every step, None where there is no target.

    Returns:
        A fraction of the target; None when no step of the last third has one.

    Example:
        >>> tracking_error([9.0, 9.0, 9.0, 9.0, 0.5, -0.25])
        0.125
    """
    last_third = deviations[len(deviations) - math.ceil(len(deviations) / 3) :]
    average = mean(last_third)
    return None if average is None else abs(average)


def _trial_summary(records: RunRecords, trial: str) -> TrialSummary:
    points = records.points.get(trial, ())
    evaluation = records.evaluations.get(trial)
    received = [clone for clone in records.clones if clone.recipient == trial]
    score = _TRAINING_SCORE[records.config.tune.metric]
    return TrialSummary(
        trial=trial,
        objective=records.objective(trial),
        finished=evaluation is not None,
        steps=points[-1].step if points else 0,
        score=mean(score(point) for point in points[-records.config.tune.perturbation_interval :]),
        tau=points[-1].tau if points else None,
        beta=points[-1].beta if points else None,
        entropy_error=tracking_error([point.entropy_deviation for point in points]),
        kl_error=tracking_error([point.kl_deviation for point in points]),
        seconds_per_step=_median(points),
        decided_locally=records.decided_locally.get(trial),
        failed_unrolls=records.failed_unrolls.get(trial),
        clones_received=len(received),
        clones_donated=sum(clone.donor == trial for clone in records.clones),
        reasons=records.reasons.get(trial, {}),
        warnings=records.warnings.get(trial, ()),
        settings=evaluation.settings if evaluation is not None else _last_settings(received),
        held_out=None if evaluation is None else _held_out([evaluation.metrics]),
    )


def _objective_summary(
    records: RunRecords, trials: Sequence[TrialSummary], objective: str
) -> ObjectiveSummary:
    own = [trial for trial in trials if trial.objective == objective]
    finished = [trial for trial in own if trial.finished]
    best = max(finished or own, key=lambda trial: -math.inf if trial.score is None else trial.score)
    metrics = [records.evaluations[trial.trial].metrics for trial in finished]
    baseline = next((e.metrics for e in records.evaluations.values() if e.objective == BASELINE), None)
    compared = best.finished and baseline is not None and objective != BASELINE
    points = [point for trial in own for point in records.points.get(trial.trial, ())]
    return ObjectiveSummary(
        objective=objective,
        reference=objective in REFERENCES,
        trials=tuple(trial.trial for trial in own),
        finished=tuple(trial.trial for trial in finished),
        best_trial=best.trial,
        best_settings=best.settings,
        best_tau=best.tau,
        best_beta=best.beta,
        held_out=best.held_out,
        held_out_all=_held_out(metrics) if metrics else None,
        entropy_error=mean(trial.entropy_error for trial in own),
        kl_error=mean(trial.kl_error for trial in own),
        seconds_per_step=_median(points),
        against_baseline=(
            _difference(records.evaluations[best.trial].metrics, baseline) if compared and baseline else None
        ),
    )


def _held_out(runs: Sequence[HeldOutMetrics]) -> HeldOut:
    """Means over runs and prompts; the interval is over prompts, each prompt averaged over the runs first."""

    def estimate(metric: str) -> Estimate:
        tables = [_per_prompt(run, metric) for run in runs]
        if len({len(table) for table in tables}) != 1:
            return Estimate()
        values = [sum(column) / len(column) for column in zip(*tables, strict=True)]
        if not all(math.isfinite(value) for value in values):
            return Estimate()
        low, high = bootstrap_interval(values)
        return Estimate(sum(values) / len(values), low, high)

    return HeldOut(*(estimate(metric) for metric in METRICS))


def _difference(run: HeldOutMetrics, baseline: HeldOutMetrics) -> HeldOut | None:
    """Paired over prompts; None when the two were not asked the same number of prompts."""

    def estimate(metric: str) -> Estimate:
        a, b = _per_prompt(run, metric), _per_prompt(baseline, metric)
        if not all(math.isfinite(value) for value in (*a, *b)):
            return Estimate()
        low, high = paired_interval(a, b)
        return Estimate(sum(a) / len(a) - sum(b) / len(b), low, high)

    if len(run.per_prompt.mean) != len(baseline.per_prompt.mean):
        return None
    return HeldOut(*(estimate(metric) for metric in METRICS))


def _per_prompt(run: HeldOutMetrics, metric: str) -> tuple[float, ...]:
    values = run.per_prompt
    return {
        "mean": values.mean,
        "pass_rate": values.pass_rate,
        "distinct": values.distinct,
        "coverage": values.coverage,
    }[metric]


def _median(points: Sequence[Point]) -> float | None:
    seconds = [point.seconds for point in points if point.seconds is not None]
    return median(seconds) if seconds else None


def _last_settings(received: Sequence[Clone]) -> Mapping[str, Any]:
    return received[-1].settings if received else {}


def _objective_order(objective: str) -> tuple[int, str]:
    ranking = (*_ORDER, *REFERENCES)
    if objective in ranking:
        return ranking.index(objective) + (objective in REFERENCES), objective
    return len(_ORDER), objective
