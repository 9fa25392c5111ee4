"""Savings of early stopping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maxent_ray.report.labels import REFERENCES
from maxent_ray.report.trial_summary import TrialSummary


@dataclass(frozen=True)
class EarlyStopping:
    """Steps that were not trained because their trials were stopped early."""

    trials: int
    """Trials that were stopped."""
    saved_steps: int
    planned_steps: int
    """Of all trials that could have been stopped, or were."""
    saved_seconds: float
    """The saved steps, each as long as a step of its trial took; with several trials at a time, the run is shorter by
    less."""


def summarise_early_stopping(trials: Sequence[TrialSummary], steps: int) -> EarlyStopping | None:
    """Count what was saved; None where no trial was stopped.

    Args:
        trials: All trials of the run.
        steps: Policy steps of a trial that is not stopped.
    """
    stopped = [trial for trial in trials if trial.stopped is not None]
    if not stopped:
        return None
    saved = {trial.trial: steps - trial.steps for trial in stopped}
    return EarlyStopping(
        trials=len(stopped),
        saved_steps=sum(saved.values()),
        planned_steps=steps * sum(trial.objective not in REFERENCES for trial in trials),
        saved_seconds=sum(saved[trial.trial] * (trial.signals["seconds_per_step"] or 0.0) for trial in stopped),
    )
