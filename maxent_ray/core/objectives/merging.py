"""Merging of gradients and sensitivities over ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from maxent_ray.core.objectives.interface import ControllerGradients
from maxent_ray.core.objectives.sensitivity import Sensitivity

SHARED = ("steps", "tau", "beta", "version", "share")
"""Fields that the sensitivities of one round have in common."""
_MEANS = {"entropy": ("entropy", "entropy_tau", "entropy_beta"), "kl": ("kl", "kl_tau", "kl_beta")}
"""Signal → fields that are means over what it is measured on."""


class RankWeights(NamedTuple):
    """Weights of one rank in means over ranks: the groups or tokens that its signals are means over.

    Example:
        >>> from maxent_ray import BatchStatistics
        >>> measured = BatchStatistics(groups=12, tokens=108)
        >>> RankWeights(measured.count("weight_entropy"), measured.count("policy_kl"))
        RankWeights(entropy=12, kl=108)
    """

    entropy: int
    """Of H and its derivatives, or of τ's signal."""
    kl: int
    """Of KL and its derivatives, or of β's signal."""


def merge_sensitivities(reports: Sequence[Sensitivity], weights: Sequence[RankWeights]) -> Sensitivity:
    """Weighted mean over ranks.

    Args:
        reports: One a rank, in rank order; at least one, all of the same K.
        weights: One a rank.

    Raises:
        ValueError: no reports, or ranks that unrolled different numbers of steps or from different coefficients.
    """
    if not reports:
        raise ValueError("no sensitivities to merge")
    differing = disagreement(reports)
    if differing is not None:
        raise ValueError(differing)
    means: dict[str, Any] = {
        name: _mean([getattr(report, name) for report in reports], [getattr(rank, signal) for rank in weights])
        for signal, names in _MEANS.items()
        for name in names
    }
    return replace(reports[0], **means, tokens=sum(report.tokens for report in reports))


def disagreement(reports: Sequence[Sensitivity]) -> str | None:
    """In what ranks differ that must unroll alike; None when they agree."""
    for name in SHARED:
        found = {getattr(report, name) for report in reports}
        if len(found) > 1:
            return f"ranks differ in the {name} of their unrolls: {sorted(found)}"
    return None


def merge_gradients(
    sent: Sequence[ControllerGradients | None], weights: Sequence[RankWeights]
) -> tuple[ControllerGradients | None, bool]:
    """Weighted mean over ranks, of all of them or none: a mean over some would be one over another batch.

    Args:
        sent: What each rank formed, in rank order.
        weights: One a rank; without any groups or tokens, ranks count alike.

    Returns:
        The gradients, and whether some ranks lacked what others had, so that it was left out.
    """
    formed = [gradients for gradients in sent if gradients is not None]
    if len(formed) < len(sent) or not formed:
        return None, bool(formed)
    sensitivities = [gradients.sensitivity for gradients in formed if gradients.sensitivity is not None]
    if sensitivities:
        if len(sensitivities) < len(formed) or disagreement(sensitivities):
            return None, True
        sensitivity = merge_sensitivities(sensitivities, weights)
        return ControllerGradients(source=formed[0].source, sensitivity=sensitivity), False
    columns = [gradients.tau_grad for gradients in formed], [gradients.beta_grad for gradients in formed]
    is_partial = any(0 < column.count(None) < len(column) for column in columns)
    by_signal = [rank.entropy for rank in weights], [rank.kl for rank in weights]
    tau_grad, beta_grad = map(_mean_of_all, columns, by_signal)
    of_tau, of_beta = ([getattr(each, f"{name}_confidence") for each in formed] for name in ("tau", "beta"))
    tau_confidence, beta_confidence = map(_mean, (of_tau, of_beta), by_signal)
    merged = ControllerGradients(
        tau_grad,
        beta_grad,
        source=formed[0].source,
        tau_confidence=tau_confidence,
        beta_confidence=beta_confidence,
    )
    return merged, is_partial


def _mean_of_all(signals: Sequence[float | None], weights: Sequence[int]) -> float | None:
    """Mean over ranks; None when a rank lacks the signal."""
    known = [signal for signal in signals if signal is not None]
    return _mean(known, weights) if len(known) == len(signals) else None


def _mean(values: Sequence[float], weights: Sequence[int]) -> float:
    if len(values) == 1:
        return values[0]  # to the last bit
    held = weights if sum(weights) > 0 else [1] * len(values)
    return sum(value * weight for value, weight in zip(values, held, strict=True)) / sum(held)
