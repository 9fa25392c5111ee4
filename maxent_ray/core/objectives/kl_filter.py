"""A Kalman filter of KL under training: its level, its velocity, and the push that training gives it.

KL answers slowly and is measured with much noise (15–20 % a step with 24 prompts). The filter's model of one policy
step, with s the share that one gradient has in the optimiser's step (1 − β₁ of Adam; 1 without momentum):

    d = a − π(β)·KL                  drive: what the current gradients would make of KL, in nats per step
    v ← (1 − s)·v + s·d              velocity: momentum lets the drive through with a delay of 1/s steps
    KL ← KL + v
    a ← a + noise                    push: what the policy loss adds; unknown, followed by the filter
    π(β) = (A/γ)·(β/β̄)^γ             pull of the penalty, per step

A = dπ/d ln β at β̄ is the *authority* of β: what the truncated-backprop sensitivities say, see
:class:`~maxent_ray.core.objectives.decoupled.Authority`.

Source: Kalman 1960, "A new approach to linear filtering and prediction problems", eqs. 21–27.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

from maxent_ray.core.field_types import NonNegative, Within

ELASTICITY = 0.2
"""γ: π ∝ β^γ, by maximum likelihood on recorded Countdown runs: ``experiments/fit_kl_model.py``."""
PUSH_NOISE = 0.14
"""Standard deviation of a's change in one step, in units of s·KL*; early steps of Adam (s near 1) move it most."""
PUSH_PRIOR = 0.1
"""a before the first measurement, in units of KL* per step."""
NOISE_BOUNDS = (0.1, 0.4)
"""Relative measurement noise that the filter may arrive at."""
NOISE_DECAY = 0.95


class Pull(NamedTuple):
    """π(β), the rate at which the KL penalty pulls KL back."""

    authority: float
    """A = dπ/d ln β at ``log_beta`` (per step)."""
    log_beta: float
    """ln β̄."""

    def at(self, log_beta: float) -> float:
        """π at another ln β (per step)."""
        return self.authority / ELASTICITY * math.exp(ELASTICITY * (log_beta - self.log_beta))

    def log_beta_for(self, pull: float) -> float:
        """The ln β that pulls so much; −∞ for none, or less than none."""
        if pull <= 0:
            return -math.inf
        return self.log_beta + math.log(pull * ELASTICITY / self.authority) / ELASTICITY


@dataclass(frozen=True)
class KlFilter:
    """Mean and covariance of (KL, velocity, push), in nats and nats per step. Pure: every method returns a new one.

    Example:
        >>> pull = Pull(authority=0.04, log_beta=math.log(0.1))
        >>> kl = KlFilter.start(target_kl=0.05)
        >>> for _ in range(100):
        ...     kl = kl.observe(0.06, target_kl=0.05).advance(0.1, pull, math.log(0.1), target_kl=0.05)
        >>> round(kl.level, 3)
        0.06
    """

    level: float = 0.0
    velocity: float = 0.0
    push: float = 0.0
    level_level: NonNegative = 0.0
    """Variances and covariances, by what they belong to."""
    level_velocity: float = 0.0
    level_push: float = 0.0
    velocity_velocity: NonNegative = 0.0
    velocity_push: float = 0.0
    push_push: NonNegative = 0.0
    noise: Annotated[float, Within(NOISE_BOUNDS[0] ** 2, NOISE_BOUNDS[1] ** 2)] = 0.04
    """Variance of the relative measurement noise, estimated from the innovations."""
    measurements: int = 0

    @classmethod
    def resume(cls, kl: float, rate: float, target_kl: float) -> KlFilter:
        """In the middle of a run that was not followed so far: KL is what one batch measured, and taken to be at rest.

        Args:
            kl: Measured KL (nats).
            rate: π(β) that the run trains with.
            target_kl: KL*.
        """
        level_variance = cls.noise * max(kl, 0.1 * target_kl) ** 2
        return cls(
            level=kl,
            push=rate * kl,
            level_level=level_variance,
            level_push=rate * level_variance,
            velocity_velocity=(0.02 * target_kl) ** 2,
            push_push=rate**2 * level_variance + (0.05 * target_kl) ** 2,
            measurements=1,
        )

    @classmethod
    def start(cls, target_kl: float) -> KlFilter:
        """Before the first measurement of a run from its start: KL is 0, the push is hardly known."""
        small = (0.01 * target_kl) ** 2
        return cls(
            push=PUSH_PRIOR * target_kl,
            level_level=small,
            velocity_velocity=small,
            push_push=(0.15 * target_kl) ** 2,
        )

    def observe(self, kl: float, target_kl: float) -> KlFilter:
        """Take in the KL that one batch measured (nats)."""
        scale = max(self.level, 0.5 * kl, 0.1 * target_kl)  # a low measurement alone must not claim to be precise
        innovation, variance = kl - self.level, self.level_level + self.noise * scale**2
        gains = [row / variance for row in (self.level_level, self.level_velocity, self.level_push)]
        noise = self.noise
        if self.measurements >= 5:  # before, the innovations are the filter's own ignorance
            low, high = NOISE_BOUNDS
            sample = (innovation**2 - self.level_level) / scale**2
            noise = min(max(NOISE_DECAY * noise + (1 - NOISE_DECAY) * sample, low**2), high**2)
        return KlFilter(
            level=max(self.level + gains[0] * innovation, 0.0),
            velocity=self.velocity + gains[1] * innovation,
            push=self.push + gains[2] * innovation,
            level_level=self.level_level * (1 - gains[0]),
            level_velocity=self.level_velocity * (1 - gains[0]),
            level_push=self.level_push * (1 - gains[0]),
            velocity_velocity=self.velocity_velocity - gains[1] * self.level_velocity,
            velocity_push=self.velocity_push - gains[1] * self.level_push,
            push_push=self.push_push - gains[2] * self.level_push,
            noise=noise,
            measurements=self.measurements + 1,
        )

    def predict(self, share: float, pull: Pull, log_beta: float) -> KlFilter:
        """The means one policy step later, trained with β; the covariance is left as it is."""
        drive = self.push - pull.at(log_beta) * self.level
        velocity = (1 - share) * self.velocity + share * drive
        return replace(self, level=max(self.level + velocity, 0.0), velocity=velocity)

    def advance(self, share: float, pull: Pull, log_beta: float, target_kl: float) -> KlFilter:
        """Means and covariance one policy step later: F P Fᵀ + Q."""
        rate = pull.at(log_beta)
        velocity_row = (-share * rate, 1 - share, share)
        level_row = (1 + velocity_row[0], velocity_row[1], velocity_row[2])
        push_row = (0.0, 0.0, 1.0)
        tiny, drift = (1e-3 * target_kl) ** 2, (PUSH_NOISE * share * target_kl) ** 2
        return replace(
            self.predict(share, pull, log_beta),
            level_level=self._spread(level_row, level_row) + tiny,
            level_velocity=self._spread(level_row, velocity_row),
            level_push=self._spread(level_row, push_row),
            velocity_velocity=self._spread(velocity_row, velocity_row) + tiny,
            velocity_push=self._spread(velocity_row, push_row),
            push_push=self.push_push + drift,
        )

    def _spread(self, left: tuple[float, float, float], right: tuple[float, float, float]) -> float:
        """Left row · P · right row."""
        rows = (
            (self.level_level, self.level_velocity, self.level_push),
            (self.level_velocity, self.velocity_velocity, self.velocity_push),
            (self.level_push, self.velocity_push, self.push_push),
        )
        return sum(x * sum(p * y for p, y in zip(row, right, strict=True)) for x, row in zip(left, rows, strict=True))
