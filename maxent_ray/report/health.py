"""Faults of a run's control in words: one line for each alarm and for each kind of degraded step."""

from __future__ import annotations

from collections.abc import Sequence

from maxent_ray.report.summary import Summary
from maxent_ray.report.trial_summary import TrialSummary


def health_lines(summary: Summary) -> list[str]:
    """List alarms and degraded steps of every trial.

    Returns:
        Lines such as ``analytic-2: warning at step 37: τ has been at its upper bound …`` and ``analytic-2: 12 of 120
        rounds were decided without the controller's actor (with the same outcome)``.
    """
    return [f"{trial.trial}: {line}" for trial in summary.trials for line in _lines(trial)]


def _lines(trial: TrialSummary) -> Sequence[str]:
    lines = [f"warning at step {warned.step}: {warned.message}" for warned in trial.warnings]
    locally = trial.signals["decided_locally"]
    if locally:
        rounds = f"{locally:.0f} of {trial.steps} rounds"
        lines.append(f"{rounds} were decided without the controller's actor (with the same outcome)")
    decisions = sum(trial.reasons.values())
    refused = trial.reasons.get("non_finite", 0)
    if refused:
        lines.append(f"{refused} of {decisions} decisions changed nothing: what was measured was not finite")
    return lines
