"""From the sensitivities of an unroll to controller gradients: merging over ranks, and the two forms.

M = ½ e_H² + ½ e_KL² with the relative errors e_H = (H_K − H*)/H* and e_KL = (KL_K − KL*)/KL* after K policy steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Literal

from maxent_ray.core.objectives import ControllerGradients, Sensitivity

Form = Literal["paired", "joint"]
FORMS: tuple[Form, ...] = ("paired", "joint")


@dataclass(frozen=True)
class Magnitudes:
    """Running magnitude of the two sensitivities that ``paired`` divides by; part of the controller's state."""

    entropy_tau: float = 0.0
    kl_beta: float = 0.0
    updates: int = 0


def merge_sensitivities(reports: Sequence[Sensitivity]) -> Sensitivity:
    """Token-weighted mean over ranks.

    Args:
        reports: One a rank, in rank order; at least one, all of the same K.

    Raises:
        ValueError: no reports, ranks that unrolled different numbers of steps, or no tokens at all.
    """
    if not reports:
        raise ValueError("no sensitivities to merge")
    steps = {report.steps for report in reports}
    if len(steps) > 1:
        raise ValueError(f"ranks unrolled different numbers of steps: {sorted(steps)}")
    tokens = sum(report.tokens for report in reports)
    if tokens <= 0:
        raise ValueError(f"sensitivities count {tokens} tokens; at least one is needed")
    means = {
        field.name: sum(getattr(report, field.name) * report.tokens for report in reports) / tokens
        for field in fields(Sensitivity)
        if field.name not in ("steps", "tokens")
    }
    return replace(reports[0], **means, tokens=tokens)


def is_finite(sensitivity: Sensitivity) -> bool:
    """Whether every number of it is finite."""
    return all(math.isfinite(value) for value in astuple(sensitivity))


def track(magnitudes: Magnitudes, sensitivity: Sensitivity, decay: float) -> Magnitudes:
    """Exponential mean of |dH_K/dτ| and |dKL_K/dβ|, without bias at the start (decay is capped by the count)."""
    updates = magnitudes.updates + 1
    keep = min(decay, 1 - 1 / updates)
    return Magnitudes(
        entropy_tau=keep * magnitudes.entropy_tau + (1 - keep) * abs(sensitivity.entropy_tau),
        kl_beta=keep * magnitudes.kl_beta + (1 - keep) * abs(sensitivity.kl_beta),
        updates=updates,
    )


def paired(
    sensitivity: Sensitivity, magnitudes: Magnitudes, target_entropy: float | None, target_kl: float
) -> ControllerGradients:
    """τ from the entropy term, β from the KL term, each over the running magnitude of its own sensitivity.

    ``tau_grad`` = e_H · (dH_K/dτ)/m_τ and ``beta_grad`` = −e_KL · (dKL_K/dβ)/m_β: the step stays proportional to the
    relative error. A sensitivity of exactly zero has no direction and gives no signal.
    """
    tau_grad = beta_grad = None
    if target_entropy is not None and magnitudes.entropy_tau > 0:
        tau_grad = _relative(sensitivity.entropy, target_entropy) * sensitivity.entropy_tau / magnitudes.entropy_tau
    if target_kl > 0 and magnitudes.kl_beta > 0:
        beta_grad = -_relative(sensitivity.kl, target_kl) * sensitivity.kl_beta / magnitudes.kl_beta
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
