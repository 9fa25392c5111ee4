"""Merging of gradients and sensitivities over ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from maxent_ray.core.objectives.interface import ControllerGradients
from maxent_ray.core.objectives.sensitivity import Sensitivity

SHARED = ("steps", "tau", "beta", "version", "share")
"""Fields that the sensitivities of one round have in common."""


def merge_sensitivities(reports: Sequence[Sensitivity]) -> Sensitivity:
    """Token-weighted mean over ranks.

    Args:
        reports: One a rank, in rank order; at least one, all of the same K.

    Raises:
        ValueError: no reports, ranks that unrolled different numbers of steps or from different coefficients, or no
            tokens at all.
    """
    if not reports:
        raise ValueError("no sensitivities to merge")
    differing = disagreement(reports)
    if differing is not None:
        raise ValueError(differing)
    tokens = sum(report.tokens for report in reports)
    if tokens <= 0:
        raise ValueError(f"sensitivities count {tokens} tokens; at least one is needed")
    means = {
        field.name: sum(getattr(report, field.name) * report.tokens for report in reports) / tokens
        for field in fields(Sensitivity)
        if field.name not in (*SHARED, "tokens")
    }
    return replace(reports[0], **means, tokens=tokens)


def disagreement(reports: Sequence[Sensitivity]) -> str | None:
    """In what ranks differ that must unroll alike; None when they agree."""
    for name in SHARED:
        found = {getattr(report, name) for report in reports}
        if len(found) > 1:
            return f"ranks differ in the {name} of their unrolls: {sorted(found)}"
    return None


def merge_gradients(
    sent: Sequence[ControllerGradients | None], tokens: Sequence[int]
) -> tuple[ControllerGradients | None, bool]:
    """Token-weighted mean over ranks, of all of them or none: a mean over some would be one over another batch.

    Args:
        sent: What each rank formed, in rank order.
        tokens: Completion tokens of each rank; without any, ranks count alike.

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
        return ControllerGradients(source=formed[0].source, sensitivity=merge_sensitivities(sensitivities)), False
    columns = [gradients.tau_grad for gradients in formed], [gradients.beta_grad for gradients in formed]
    is_partial = any(0 < column.count(None) < len(column) for column in columns)
    tau_grad, beta_grad = (_mean(column, tokens) for column in columns)
    return ControllerGradients(tau_grad, beta_grad, source=formed[0].source), is_partial


def _mean(signals: Sequence[float | None], tokens: Sequence[int]) -> float | None:
    """Mean over tokens; None when a rank lacks the signal."""
    known = [signal for signal in signals if signal is not None]
    if len(known) < len(signals):
        return None
    weights = tokens if sum(tokens) > 0 else [1] * len(known)
    return sum(signal * weight for signal, weight in zip(known, weights, strict=True)) / sum(weights)
