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

DECAY = 0.9
"""Of the running sensitivities, per update."""
LEAST_CONFIDENCE = 0.25
"""Share of a step that is taken whatever the unroll's direction."""


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

    def certainty(self, decay: float) -> float:
        """Probability that the mean sensitivity is above 0, less that of below 0: ±1 where batches decide on its sign.

        By a normal distribution around ``direction``, whose variance over n batches is at most (1 − direction²)/n; an
        exponential mean is over (1 + decay)/(1 − decay) batches. So one batch alone counts as certain, and the next
        ones say whether it was.

        Example:
            >>> round(RunningSensitivity(direction=0.25, updates=40).certainty(decay=0.9), 2)
            0.74
        """
        batches = min(self.updates, (1 + decay) / (1 - decay))
        spread = math.sqrt(max(0.0, 1 - self.direction**2))
        if spread == 0:
            return math.copysign(1.0, self.direction)
        return math.erf(self.direction * math.sqrt(batches / 2) / spread)


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
    *,
    decay: float = DECAY,
    least_confidence: float = LEAST_CONFIDENCE,
) -> ControllerGradients:
    """τ from the entropy term, β from the KL term, each in the direction of its own sensitivity.

    ``tau_grad`` = e_H · c_τ and ``beta_grad`` = e_KL · c_β, with the certainty c_τ that dH_K/dτ is above 0, and c_β
    that dKL_K/dβ is below 0. A step stays proportional to its error; it shrinks while batches do not decide on the
    direction. A change of c alone, of its sign too, is no change of the error, and must not look like one to a
    proportional part.

    A high τ raises H and a high β lowers KL in the long run, which K steps may not show: with β far too high, KL is
    what single steps of the optimiser make of it, whatever β is. So no confidence is less than ``least_confidence``.

    Using one batch's sensitivity here instead of the mean biases the loop: it and the error come from the same
    sequences, and a loop at rest then has E[e·s] = 0, not E[e] = 0.

    Args:
        sensitivity: Merged over ranks; the errors are those of its H and KL.
        track: Running sensitivities, this round's included.
        target_entropy: H* (nats); None: no τ signal.
        target_kl: KL* (nats); 0: no β signal.
        entropy_scale: What H − H* is divided by (nats); None: H* itself, or 1 nat if it is not above 0.
        kl_scale: What KL − KL* is divided by (nats); None: KL* itself.
        decay: Of the running sensitivities.
        least_confidence: Of both; −1: the unroll's direction, whatever it is.
    """
    tau_grad = beta_grad = None
    tau_confidence = max(least_confidence, track.entropy_tau.certainty(decay))
    beta_confidence = max(least_confidence, -track.kl_beta.certainty(decay))
    if target_entropy is not None:
        scale = usual_scale(target_entropy) if entropy_scale is None else entropy_scale
        error = relative_error(sensitivity.entropy, target_entropy, scale)
        tau_grad = error * tau_confidence
    if target_kl > 0:
        scale = target_kl if kl_scale is None else kl_scale
        beta_grad = relative_error(sensitivity.kl, target_kl, scale) * beta_confidence
    return ControllerGradients(tau_grad, beta_grad, tau_confidence=tau_confidence, beta_confidence=beta_confidence)


class PairedObjective(SensitivityObjective):
    """Truncated backprop by :func:`paired`.

    Args:
        steps: K ≥ 1.
        fallback: As of :class:`~maxent_ray.core.objectives.TruncatedBackpropControllerObjective`.
        decay: Decay of the running sensitivities, in [0, 1).
        least_confidence: As of :func:`paired`.
    """

    name = "paired"
    memory_type = SensitivityTrack

    def __init__(
        self,
        steps: int,
        *,
        fallback: Literal["analytic"] | None = None,
        decay: float = DECAY,
        least_confidence: float = LEAST_CONFIDENCE,
    ) -> None:
        super().__init__(steps, fallback=fallback)
        self.decay = decay
        self.least_confidence = least_confidence

    def form(
        self, sensitivity: Sensitivity, meta_ctx: ControllerMetaContext, memory: Memory
    ) -> tuple[ControllerGradients, Memory]:
        """Form the signals from one round's merged sensitivities, and from H and KL as they were measured.

        Not from those after K steps: where AdamW has seen few gradients, these take KL far beyond what the next real
        step does, and a proportional part would answer the way back.
        """
        entropy, kl = meta_ctx.entropy_value(), meta_ctx.kl_metric()
        sensitivity = replace(
            sensitivity,
            entropy=sensitivity.entropy if entropy is None else entropy,
            kl=sensitivity.kl if kl is None else kl,
        )
        known = build_dataclass(SensitivityTrack, memory)
        track, targets = known.track(sensitivity, self.decay), meta_ctx.weighting
        target_entropy = targets.tau_target_entropy
        if self.lacks_entropy(meta_ctx):
            track, target_entropy = replace(track, entropy_tau=known.entropy_tau), None
        aims = (target_entropy, targets.kl_target, meta_ctx.entropy_scale(), meta_ctx.kl_scale())
        found = paired(sensitivity, track, *aims, decay=self.decay, least_confidence=self.least_confidence)
        return found, to_plain(track)


@dataclass(frozen=True, kw_only=True)
class Paired(FormBase):
    """Settings of the form.

    Example:
        >>> from maxent_ray.core.objectives import TruncatedBackprop
        >>> TruncatedBackprop(form=Paired(sensitivity_decay=0.8)).form.sensitivity_decay
        0.8
    """

    type: Literal["paired"] = "paired"
    sensitivity_decay: float = DECAY
    """Decay of the running sensitivities."""
    least_confidence: float = LEAST_CONFIDENCE
    """Least share of a step that is taken in the direction in which a coefficient acts in the long run, where the
    unroll sees another, or batches disagree; −1: the unroll's direction, whatever it is."""

    def check(self, loops: Loops, fallback: str | None) -> None:
        """Raise ConfigError for a value out of range."""
        if not 0 <= self.sensitivity_decay < 1:
            value = self.sensitivity_decay
            raise ConfigError(f"objective.form.sensitivity_decay is {value}; it must be in [0, 1)")
        if not -1 <= self.least_confidence <= 1:
            value = self.least_confidence
            raise ConfigError(f"objective.form.least_confidence is {value}; it must be in [-1, 1]")

    def build(self, loops: Loops, steps: int, fallback: Literal["analytic"] | None) -> SensitivityObjective:
        """The objective."""
        decay, least = self.sensitivity_decay, self.least_confidence
        return PairedObjective(steps, fallback=fallback, decay=decay, least_confidence=least)
