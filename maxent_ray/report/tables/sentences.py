"""Sentences around the tables: verdicts, and footnotes on how to read the comparison."""

from __future__ import annotations

from maxent_ray.core import signals
from maxent_ray.evaluation.metric_intervals import HeldOut
from maxent_ray.report.formatting import listed
from maxent_ray.report.summary import Summary
from maxent_ray.report.tables.comparison import best_label, compared_objectives, held_out_prompts
from maxent_ray.report.timing import clock


def verdicts(summary: Summary) -> list[str]:
    """Put the differences to plain GRPO into words, one sentence for every objective.

    Returns:
        Sentences such as ``analytic against plain GRPO: coverage@8 higher by 0.120 (0.080 to 0.160); no clear
        difference in mean@8.`` A metric is called higher or lower when its interval excludes zero.
    """
    sentences = []
    for objective, differences in compared_objectives(summary):
        if parts := _parts(summary, differences):
            sentences.append(f"{best_label(objective)} against plain GRPO: {'; '.join(parts)}.")
    return sentences


def footnotes(summary: Summary) -> list[str]:
    """Explain how to read the comparison, and say what is missing from it."""
    notes = [
        *_on_scores(summary),
        "Tracking of H and KL: |mean of (H − H*)/H*| and |mean of (KL − KL*)/KL*| over the last third of a "
        "trial's steps, averaged over the trials of an objective. "
        "s/step: median while the whole population shared the machine.",
    ]
    if summary.unfinished:
        without = ", without a held-out evaluation" if summary.held_out_metrics else ""
        notes.append(f"Unfinished{without}: {listed(summary.unfinished)}.")
    if summary.stopped:
        notes.append(f"Stopped early by ASHA, without a held-out evaluation: {listed(summary.stopped)}.")
    if summary.early_stopping is not None:
        saved = summary.early_stopping
        notes.append(
            f"Early stopping saved {saved.saved_steps} of {saved.planned_steps} policy steps: "
            f"{clock(saved.saved_seconds)} of training, summed over {saved.trials} stopped trial(s)."
        )
    if summary.torn_lines:
        notes.append(f"{summary.torn_lines} line(s) of the records were cut off or lack a field, and were left out.")
    notes += _totals(summary)
    if summary.wall_seconds is not None:
        notes.append(f"The whole job took {clock(summary.wall_seconds)}.")
    return notes


def _on_scores(summary: Summary) -> list[str]:
    """Explain values and intervals, and how the best trials were chosen."""
    if not summary.held_out_metrics:
        score = f"{summary.score_label} over its last {summary.window} steps"
        return [f"The best trial of an objective is the one with the highest {score}."]
    return [
        f"[low, high]: 95 % bootstrap intervals over {held_out_prompts(summary)}, {summary.samples} samples each. "
        "They say how far other prompts could move a value, not how far other seeds could.",
        f"The best trial of an objective is the one with the highest {summary.score_label} on its training prompts "
        f"over its last {summary.window} steps; the held-out prompts play no part in the choice.",
    ]


def _parts(summary: Summary, differences: HeldOut) -> list[str]:
    clear, unclear = [], []
    for metric, name in summary.held_out_metrics.items():
        estimate = differences[metric]
        if estimate.value is None or estimate.low is None or estimate.high is None:
            continue
        if not estimate.excludes_zero:
            unclear.append(name)
            continue
        low, high = sorted((abs(estimate.low), abs(estimate.high)))
        direction = "higher" if estimate.value > 0 else "lower"
        clear.append(f"{name} {direction} by {abs(estimate.value):.3f} ({low:.3f} to {high:.3f})")
    parts = [", ".join(clear)] if clear else []
    return [*parts, f"no clear difference in {listed(unclear)}"] if unclear else parts


def _totals(summary: Summary) -> list[str]:
    """Footnotes of running counts over all trials."""
    noted = [signal for signal in signals.SIGNALS if signal.note]
    totals = {signal.note: sum(trial.signals[signal.key] or 0 for trial in summary.trials) for signal in noted}
    return [f"{total:.0f} {note}" for note, total in totals.items() if total]
