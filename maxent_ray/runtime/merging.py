"""One round's reports become one: statistics add up, gradients are averaged over tokens, in rank order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maxent_ray.core.meta_gradient import disagreement, merge_sensitivities
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.statistics import BatchStatistics, merge_all
from maxent_ray.runtime.protocol import Report

REASONS_SHOWN, LONGEST_REASON = 3, 500
"""Why a round is void: ranks and characters of each that are told."""


@dataclass(frozen=True)
class MergedRound:
    """What a round measured over all ranks."""

    statistics: BatchStatistics
    gradients: ControllerGradients | None
    partial: bool
    """Some ranks sent gradients that others lacked; what was not complete has been left out."""
    void: str = ""
    """Why nothing can be decided on this round, empty when something can."""


def merge_reports(reports: Sequence[Report], needed: int | None = None) -> MergedRound:
    """Merge the reports of one step.

    Args:
        reports: One a rank, in rank order: floating-point sums then repeat to the last bit.
        needed: Ranks that must have measured something; None: all of ``reports``. With fewer the round is void. With
            more, what the others could not measure is left out.

    Example:
        >>> measured = [BatchStatistics(groups=1, weight_entropy_sum=h) for h in (1.0, 2.0)]
        >>> shards = [Report("run", rank, 0, shard) for rank, shard in enumerate(measured)]
        >>> merge_reports(shards).statistics.mean("weight_entropy")
        1.5
    """
    usable = [report for report in reports if not report.void]
    if len(usable) < (len(reports) if needed is None else needed):
        void = _shortened([report.void for report in reports if report.void])
        return MergedRound(BatchStatistics(), None, partial=False, void=void)
    statistics = merge_all(report.statistics for report in usable)
    gradients, partial = _merge_gradients(usable)
    return MergedRound(statistics, gradients, partial or any(report.partial_gradients for report in usable))


def _shortened(reasons: Sequence[str]) -> str:
    """The first few, however many ranks there are."""
    more = f" and of {len(reasons) - REASONS_SHOWN} ranks more" if len(reasons) > REASONS_SHOWN else ""
    return "; ".join(reason[:LONGEST_REASON] for reason in reasons[:REASONS_SHOWN]) + more


def _merge_gradients(reports: Sequence[Report]) -> tuple[ControllerGradients | None, bool]:
    """All ranks or none: a mean over some of them would be a mean over another batch."""
    sent = [report.gradients for report in reports if report.gradients is not None]
    if not sent:
        return None, False
    if len(sent) < len(reports):
        return None, True
    sensitivities = [gradients.sensitivity for gradients in sent if gradients.sensitivity is not None]
    if sensitivities:
        if len(sensitivities) < len(sent) or disagreement(sensitivities):  # ranks may differ for a step after an outage
            return None, True
        return ControllerGradients(source=sent[0].source, sensitivity=merge_sensitivities(sensitivities)), False
    tokens = [report.statistics.tokens for report in reports]
    tau_grads, beta_grads = [g.tau_grad for g in sent], [g.beta_grad for g in sent]
    partial = any(0 < signals.count(None) < len(signals) for signals in (tau_grads, beta_grads))
    merged = ControllerGradients(_mean(tau_grads, tokens), _mean(beta_grads, tokens), source=sent[0].source)
    return merged, partial


def _mean(signals: Sequence[float | None], tokens: Sequence[int]) -> float | None:
    """Mean over tokens (over ranks when none counted any); None when a rank lacks the signal."""
    known = [signal for signal in signals if signal is not None]
    if len(known) < len(signals):
        return None
    weights = tokens if sum(tokens) > 0 else [1] * len(known)
    return sum(signal * weight for signal, weight in zip(known, weights, strict=True)) / sum(weights)
