"""From the sensitivities of an unroll to controller gradients: merging over ranks, and the forms.

``paired`` and ``joint`` are here; ``decoupled`` has a file of its own.

M = ½ e_H² + ½ e_KL² with the relative errors e_H = (H_K − H*)/H* and e_KL = (KL_K − KL*)/KL* after K policy steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Literal

from maxent_ray.core.field_types import LARGEST, LogOfFloat
from maxent_ray.core.objectives.interface import ControllerGradients
from maxent_ray.core.objectives.sensitivity import Sensitivity

Form = Literal["paired", "joint", "decoupled"]
FORMS: tuple[Form, ...] = ("paired", "joint", "decoupled")
SHARED = ("steps", "tau", "beta", "version", "share")
"""Fields that the sensitivities of one round have in common."""


@dataclass(frozen=True)
class RunningSensitivity:
    """One sensitivity over time: its usual size, and its direction relative to that size."""

    log_magnitude: LogOfFloat = 0.0
    """Exponential mean of log |s|: a geometric mean, so that one wild batch does not set the scale."""
    direction: float = 0.0
    """Exponential mean of s/magnitude cut to ±1: near ±1 while batches agree, near 0 while they do not."""
    updates: int = 0
    """Batches with a sensitivity other than 0, which says nothing about the size."""

    def track(self, sensitivity: float, decay: float) -> RunningSensitivity:
        """Take one batch's sensitivity in; early means are plain averages, so they carry no bias to zero."""
        updates = self.updates + 1
        keep = min(decay, 1 - 1 / updates)
        if sensitivity == 0:
            return replace(self, direction=keep * self.direction)
        log_magnitude = keep * self.log_magnitude + (1 - keep) * math.log(abs(sensitivity))
        relative = math.copysign(min(1.0, abs(sensitivity) / math.exp(log_magnitude)), sensitivity)
        return RunningSensitivity(log_magnitude, keep * self.direction + (1 - keep) * relative, updates)


@dataclass(frozen=True)
class SensitivityTrack:
    """The two sensitivities that ``paired`` uses; part of the controller's state."""

    entropy_tau: RunningSensitivity = RunningSensitivity()
    """dH_K/dτ."""
    kl_beta: RunningSensitivity = RunningSensitivity()
    """dKL_K/dβ."""

    def track(self, sensitivity: Sensitivity, decay: float) -> SensitivityTrack:
        """Take one round's merged sensitivities in."""
        return SensitivityTrack(
            self.entropy_tau.track(sensitivity.entropy_tau, decay), self.kl_beta.track(sensitivity.kl_beta, decay)
        )


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


def is_finite(sensitivity: Sensitivity) -> bool:
    """Whether every number of it is finite, and none so large that its square would not be."""
    return all(abs(value) < LARGEST for value in astuple(sensitivity))


def paired(
    sensitivity: Sensitivity, track: SensitivityTrack, target_entropy: float | None, target_kl: float
) -> ControllerGradients:
    """τ from the entropy term, β from the KL term, each relative to the running magnitude of its own sensitivity.

    ``tau_grad`` = e_H · d_τ and ``beta_grad`` = −e_KL · d_β, with d the running mean of the sensitivity over its
    magnitude. A step stays proportional to its error; it shrinks while batches disagree about the direction.
    Using one batch's sensitivity here instead of the mean biases the loop: it and the error come from the same
    sequences, and a loop at rest then has E[e·s] = 0, not E[e] = 0.

    Args:
        sensitivity: Merged over ranks; its H and KL are those after K steps.
        track: Running sensitivities, this round's included.
        target_entropy: H* (nats); None: no τ signal.
        target_kl: KL* (nats); 0: no β signal.
    """
    tau_grad = beta_grad = None
    if target_entropy is not None:
        tau_grad = _relative(sensitivity.entropy, target_entropy) * track.entropy_tau.direction
    if target_kl > 0:
        beta_grad = -_relative(sensitivity.kl, target_kl) * track.kl_beta.direction
    return ControllerGradients(tau_grad, beta_grad, source="truncated_backprop", sensitivity=sensitivity)


def joint(sensitivity: Sensitivity, target_entropy: float | None, target_kl: float) -> ControllerGradients:
    """The plain gradient of M: ``tau_grad`` = dM/dτ, ``beta_grad`` = −dM/dβ."""
    d_tau = d_beta = 0.0
    if target_entropy is not None:
        error = _relative(sensitivity.entropy, target_entropy) / target_entropy
        d_tau += error * sensitivity.entropy_tau
        d_beta += error * sensitivity.entropy_beta
    if target_kl > 0:
        error = _relative(sensitivity.kl, target_kl) / target_kl
        d_tau += error * sensitivity.kl_tau
        d_beta += error * sensitivity.kl_beta
    return ControllerGradients(d_tau, -d_beta, source="truncated_backprop", sensitivity=sensitivity)


def _relative(measured: float, target: float) -> float:
    return (measured - target) / target
