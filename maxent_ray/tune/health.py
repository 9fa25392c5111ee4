"""What went wrong in a run's control, in words: one line each, and none when nothing did."""

from __future__ import annotations

from collections.abc import Sequence

from maxent_ray.tune.summary import Summary, TrialSummary

_WITHOUT = {"hold": "held", "local": "decided locally"}


def health_lines(summary: Summary) -> list[str]:
    """Alarms and degraded steps of every trial.

    Returns:
        Lines such as ``analytic-2: warning at step 37: τ has been at its upper bound …`` and ``analytic-2: 12 of 120
        steps without the controller (held)``.
    """
    return [f"{trial.trial}: {line}" for trial in summary.trials for line in _lines(trial, summary.when_unreachable)]


def _lines(trial: TrialSummary, when_unreachable: str) -> Sequence[str]:
    lines = [f"warning at step {warned.step}: {warned.message}" for warned in trial.warnings]
    if trial.unreachable_steps:
        how = f" ({_WITHOUT[when_unreachable]})" if when_unreachable in _WITHOUT else ""
        lines.append(f"{trial.unreachable_steps} of {trial.steps} steps without the controller{how}")
    decisions = sum(trial.reasons.values())
    if trial.quorum_rounds:
        lines.append(f"{trial.quorum_rounds} of {decisions} decisions were made without some ranks, by a quorum")
    refused = trial.reasons.get("non_finite", 0)
    if refused:
        lines.append(f"{refused} of {decisions} decisions changed nothing: what was measured was not finite")
    return lines
