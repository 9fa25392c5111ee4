"""The ``paired`` form of truncated backprop: τ from the entropy term, β from the KL term."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from maxent_ray.core.field_types import LogOfFloat
from maxent_ray.core.objectives.interface import ControllerGradients, ControllerMetaContext, Memory
from maxent_ray.core.objectives.sensitivity import Sensitivity
from maxent_ray.core.objectives.settings_base import FormBase, Loops
from maxent_ray.core.objectives.truncated_backprop import SensitivityObjective
from maxent_ray.core.relative_errors import relative_error, usual_scale
from maxent_ray.core.validation import build_dataclass, to_plain
from maxent_ray.errors import ConfigError


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
    """The two sensitivities that ``paired`` uses; the form's memory."""

    entropy_tau: RunningSensitivity = RunningSensitivity()
    """dH_K/dτ."""
    kl_beta: RunningSensitivity = RunningSensitivity()
    """dKL_K/dβ."""

    def track(self, sensitivity: Sensitivity, decay: float) -> SensitivityTrack:
        """Take one round's merged sensitivities in."""
        return SensitivityTrack(
            self.entropy_tau.track(sensitivity.entropy_tau, decay), self.kl_beta.track(sensitivity.kl_beta, decay)
        )


def paired(
    sensitivity: Sensitivity,
    track: SensitivityTrack,
    target_entropy: float | None,
    target_kl: float,
    entropy_scale: float | None = None,
    kl_scale: float | None = None,
) -> ControllerGradients:
    """τ from the entropy term, β from the KL term, each relative to the running magnitude of its own sensitivity.

    ``tau_grad`` = e_H · d_τ and ``beta_grad`` = −e_KL · d_β, with d the running mean of the sensitivity over its
    magnitude. A step stays proportional to its error; it shrinks while batches disagree about the direction, by the
    confidence d_τ or −d_β. A change of d alone, of its sign too, is no change of the error, and must not look like one
    to a proportional part.
    Using one batch's sensitivity here instead of the mean biases the loop: it and the error come from the same
    sequences, and a loop at rest then has E[e·s] = 0, not E[e] = 0.

    Args:
        sensitivity: Merged over ranks; its H and KL are those after K steps.
        track: Running sensitivities, this round's included.
        target_entropy: H* (nats); None: no τ signal.
        target_kl: KL* (nats); 0: no β signal.
        entropy_scale: What H − H* is divided by (nats); None: H* itself, or 1 nat if it is not above 0.
        kl_scale: What KL − KL* is divided by (nats); None: KL* itself.
    """
    tau_grad = beta_grad = None
    tau_direction, beta_direction = track.entropy_tau.direction, track.kl_beta.direction
    if target_entropy is not None:
        scale = usual_scale(target_entropy) if entropy_scale is None else entropy_scale
        error = relative_error(sensitivity.entropy, target_entropy, scale)
        tau_grad = error * tau_direction
    if target_kl > 0:
        scale = target_kl if kl_scale is None else kl_scale
        beta_grad = -relative_error(sensitivity.kl, target_kl, scale) * beta_direction
    return ControllerGradients(tau_grad, beta_grad, tau_confidence=tau_direction, beta_confidence=-beta_direction)


class PairedObjective(SensitivityObjective):
    """Truncated backprop by :func:`paired`.

    Args:
        steps: K ≥ 1.
        fallback: As of :class:`~maxent_ray.core.objectives.TruncatedBackpropControllerObjective`.
        decay: Decay of the running sensitivities, in [0, 1).
    """

    name = "paired"
    memory_type = SensitivityTrack

    def __init__(self, steps: int, *, fallback: Literal["analytic"] | None = None, decay: float = 0.9) -> None:
        super().__init__(steps, fallback=fallback)
        self.decay = decay

    def form(
        self, sensitivity: Sensitivity, meta_ctx: ControllerMetaContext, memory: Memory
    ) -> tuple[ControllerGradients, Memory]:
        """Form the signals from one round's merged sensitivities."""
        known = build_dataclass(SensitivityTrack, memory)
        track, targets = known.track(sensitivity, self.decay), meta_ctx.weighting
        target_entropy = targets.tau_target_entropy
        if self.lacks_entropy(meta_ctx):
            track, target_entropy = replace(track, entropy_tau=known.entropy_tau), None
        aims = (target_entropy, targets.kl_target, meta_ctx.entropy_scale(), meta_ctx.kl_scale())
        return paired(sensitivity, track, *aims), to_plain(track)


@dataclass(frozen=True, kw_only=True)
class Paired(FormBase):
    """Settings of the form.

    Example:
        >>> from maxent_ray.core.objectives import TruncatedBackprop
        >>> TruncatedBackprop(form=Paired(sensitivity_decay=0.8)).form.sensitivity_decay
        0.8
    """

    type: Literal["paired"] = "paired"
    sensitivity_decay: float = 0.9
    """Decay of the running sensitivities."""

    def check(self, loops: Loops, fallback: str | None) -> None:
        """Raise ConfigError for a value out of range."""
        if not 0 <= self.sensitivity_decay < 1:
            value = self.sensitivity_decay
            raise ConfigError(f"objective.form.sensitivity_decay is {value}; it must be in [0, 1)")

    def build(self, loops: Loops, steps: int, fallback: Literal["analytic"] | None) -> SensitivityObjective:
        """The objective."""
        return PairedObjective(steps, fallback=fallback, decay=self.sensitivity_decay)
