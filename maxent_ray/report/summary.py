"""Summary of a comparison, a sweep or a run, written as ``summary.json``.

The best trial of an objective is chosen by its training score over the last perturbation window, the score
that population-based training itself goes by; held-out metrics never choose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.report.early_stopping import EarlyStopping, summarise_early_stopping
from maxent_ray.report.labels import metric_label, objective_order
from maxent_ray.report.objective_summary import ObjectiveSummary, summarise_objective
from maxent_ray.report.run_records import RunRecords, read_run
from maxent_ray.report.sweep_summary import SweepSummary, summarise_sweep
from maxent_ray.report.trial_summary import TrialSummary, summarise_trial
from maxent_ray.storage.atomic import write_atomic
from maxent_ray.storage.json_lines import strict
from maxent_ray.storage.run_files import SUMMARY

SCHEMA = 1


@dataclass(frozen=True)
class Summary:
    """A whole comparison."""

    name: str
    mode: str
    metric: str
    """Metric that the best trials are chosen by."""
    window: int
    """Steps of the window that it is taken over."""
    group_size: int | None
    """G: completions per training prompt; None where there are no groups."""
    samples: int | None
    """k of the held-out metrics; None where nothing is held out."""
    prompts: int | None
    """Held-out prompts; None when nothing was evaluated."""
    seed: int
    objectives: tuple[ObjectiveSummary, ...]
    trials: tuple[TrialSummary, ...]
    unfinished: tuple[str, ...]
    """Trials that have not trained to their end, those that were stopped early left out; none where no end is set."""
    stopped: tuple[str, ...]
    """Trials that were stopped early."""
    early_stopping: EarlyStopping | None
    """Savings of early stopping; None where no trial was stopped."""
    sweep: SweepSummary | None
    """Points of a sweep; None for any other run."""
    clones: int
    rows: int
    torn_lines: int
    """Lines skipped because they were cut off."""
    wall_seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON: a number that is not finite becomes None."""
        parts = {
            "objectives": [objective.to_dict() for objective in self.objectives],
            "trials": [trial.to_dict() for trial in self.trials],
            "early_stopping": self.early_stopping and vars(self.early_stopping),
            "sweep": self.sweep and self.sweep.to_dict(),
        }
        values: dict[str, Any] = strict({"schema": SCHEMA, **vars(self), **parts})
        return values

    @property
    def score_label(self) -> str:
        """Name of the training score."""
        return self.metric.replace("_", " ") if self.group_size is None else metric_label(self.metric, self.group_size)

    @property
    def held_out_metrics(self) -> Mapping[str, str]:
        """Held-out metric → its name with its k; empty where nothing is held out."""
        return {} if self.samples is None else {metric: metric_label(metric, self.samples) for metric in METRICS}

    def trial(self, name: str) -> TrialSummary:
        """One trial by its name."""
        return next(trial for trial in self.trials if trial.trial == name)


def summarise(folder: Path, wall_seconds: float | None = None) -> Summary:
    """Summarise a results folder and write ``summary.json`` into it.

    Args:
        folder: ``results/<name>``, of a finished or an interrupted run.
        wall_seconds: Duration of the whole job, if known.

    Raises:
        ConfigError: the folder has no readable ``config.yaml``.
        RecordingError: the file cannot be written.
    """
    summary = build_summary(read_run(folder), wall_seconds)
    write_summary(folder, summary)
    return summary


def write_summary(folder: Path, summary: Summary) -> None:
    """Write ``summary.json``, atomically.

    Raises:
        RecordingError: the file cannot be written.
    """
    text = json.dumps(summary.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / SUMMARY, f"{text}\n".encode())


def build_summary(records: RunRecords, wall_seconds: float | None = None) -> Summary:
    """Summarise records; writes nothing."""
    return join_trials(records, [summarise_trial(records, trial) for trial in records.trials()], wall_seconds)


def join_trials(records: RunRecords, trials: Sequence[TrialSummary], wall_seconds: float | None = None) -> Summary:
    """Summarise a run from the summaries of its trials."""
    config = records.config
    objectives = sorted({trial.objective for trial in trials}, key=objective_order)
    counts = {each.metrics.prompts for each in records.evaluations.values() if each.metrics is not None}
    return Summary(
        name=records.folder.resolve().name,
        mode=config.tune.mode,
        metric=config.tune.metric,
        window=config.tune.perturbation_interval,
        group_size=config.group_size,
        samples=config.held_out_samples,
        prompts=max(counts) if counts else None,
        seed=config.train.seed,
        objectives=tuple(summarise_objective(records, trials, objective) for objective in objectives),
        trials=tuple(trials),
        unfinished=_unfinished(records, trials),
        stopped=tuple(trial.trial for trial in trials if trial.stopped is not None),
        early_stopping=summarise_early_stopping(trials, config.train.steps or 0),
        sweep=summarise_sweep(records, trials),
        clones=len(records.clones),
        rows=records.rows,
        torn_lines=records.torn_lines,
        wall_seconds=wall_seconds,
    )


def _unfinished(records: RunRecords, trials: Sequence[TrialSummary]) -> tuple[str, ...]:
    if records.config.train.steps is None:
        return ()
    return tuple(trial.trial for trial in trials if not trial.finished and trial.stopped is None)
