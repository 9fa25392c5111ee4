"""The ``decoupled`` form of truncated backprop: both coefficients move at once, each knowing what the other does.

The unroll gives four sensitivities. How they are used:

- dH/dτ and dH/dβ are exact and fast (a weight entropy answers in the next batch). τ makes a damped Newton step on H,
  and takes up what β's move will do to H: Δτ = −(dH/dβ)/(dH/dτ)·Δβ.
- dKL/dβ over K steps is noisy and short-sighted: KL drifts over tens of steps. It sets the *authority* of β in a model
  of KL (:mod:`maxent_ray.core.objectives.kl_filter`), pulled towards a prior by what a K-step view was seen to be
  worth; a Kalman filter follows KL and its velocity, and β is placed so that both go to their target without overshoot.
- dKL/dτ is not used: τ belongs to H. What it does to KL is noisy over K steps and nearly gone over tens of them; the
  filter follows it as a change of what pushes KL.

A batch is measured with coefficients that may be older than the newest ones (the runtime's lag). Sensitivities carry
the coefficients that they were measured at, which compensates this dead time: no error is corrected twice. (With
``update_interval`` above one, H and KL are means over a window whose first steps may have had still older ones.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from maxent_ray.core.field_types import LastStep, LogOfFloat
from maxent_ray.core.objectives.interface import ControllerGradients, ControllerMetaContext, Memory
from maxent_ray.core.objectives.kl_filter import KlFilter, Pull
from maxent_ray.core.objectives.sensitivity import Sensitivity
from maxent_ray.core.objectives.settings_base import FormBase, Loops
from maxent_ray.core.objectives.truncated_backprop import SensitivityObjective
from maxent_ray.core.statistics import WEIGHT_ENTROPIES
from maxent_ray.core.validation import build_dataclass, to_plain
from maxent_ray.errors import ConfigError

LARGEST_LOG_MOVE = 1.0
"""Trust region: no coefficient moves by more than this factor's logarithm in one decision."""
LARGEST_SHARE_OF_BETA = 2 / 3
"""β/κ that β may reach. H* fixes κ = τ + β; what β takes of it τ loses, and with it its hold on H. Near β = κ the
weights follow the reference instead of the rewards, and more β then raises KL."""
NEWTON_GAIN = 0.7
"""Part of τ's Newton step that is taken; the rest is what one noisy batch may get wrong."""
FLAT_ENTROPY = 0.006
"""Damping of τ's Newton step (nats per unit of ln τ): below it, H is on a plateau that τ cannot move."""
QUIET_RANGE, FREE_RANGE = 1.0, 4.0
"""Largest deviation of ln β from its recent mean: the size of KL's error in units of its own uncertainty,
inside these bounds. A loop that throws β by decades at what may be noise goes round its target for ever."""
MOMENTUM_BUILT_UP = 0.25
"""β waits for the first three measurements while a gradient's share in the optimiser's step is above this: Adam's
first steps have one length whatever the gradient; neither KL nor its sensitivities say anything of later ones."""
HORIZON_TRUST = 0.25
"""Weight of the unrolled authority against the prior, in logarithms. Over two decades of β the authority that runs
showed grew as the unrolled one to this power: instantaneous pull counts directions that noise refills at once."""
PRIOR_AUTHORITY = 0.025
"""Authority of β without an unroll (per step and unit of ln β)."""
AUTHORITY_DECAY = 0.9
MOST_PENDING = 8
"""Decisions on their way that the model looks ahead over, at most."""
SAMPLE_RANGE = (1e-6, 1e3)
"""An authority outside is as wild as one at its edge."""
OUTLIER = 2.0
"""A sample counts as at most this far from the running logarithm of the authority."""


@dataclass(frozen=True)
class Authority:
    """Running estimate of the authority of β from the unrolls, and of the β it holds around."""

    log_pull: LogOfFloat = 0.0
    """Running ln of the size of dKL_K/d ln β / (KL · K · share): per step and unit of ln β. The sign is the model's:
    over tens of steps a penalty lowers what it penalises."""
    log_beta: LogOfFloat = 0.0
    """Running ln β of the same batches."""
    updates: int = 0

    def track(self, sensitivity: Sensitivity, kl: float, target_kl: float) -> Authority:
        """Take one unroll in, unless it left the region where the policy is anything like itself."""
        moved = abs(sensitivity.kl - kl) > 0.5 * max(kl, target_kl)
        sample = abs(sensitivity.kl_beta) * sensitivity.beta
        if moved or sample == 0 or kl < 0.02 * target_kl:
            return self
        low, high = SAMPLE_RANGE
        log_sample = math.log(min(max(sample / (kl * sensitivity.steps * sensitivity.share), low), high))
        keep = min(AUTHORITY_DECAY, 1 - 1 / (self.updates + 1))
        if self.updates >= 3:
            log_sample = min(max(log_sample, self.log_pull - OUTLIER), self.log_pull + OUTLIER)
        return Authority(
            keep * self.log_pull + (1 - keep) * log_sample,
            keep * self.log_beta + (1 - keep) * math.log(sensitivity.beta),
            self.updates + 1,
        )

    def pull(self, log_beta: float) -> Pull:
        """The model's π(β); around ``log_beta`` from the prior alone while no unroll was usable."""
        if self.updates == 0:
            return Pull(PRIOR_AUTHORITY, log_beta)
        trusted = (1 - HORIZON_TRUST) * math.log(PRIOR_AUTHORITY) + HORIZON_TRUST * self.log_pull
        return Pull(math.exp(trusted), self.log_beta)


@dataclass(frozen=True)
class Decoupling:
    """Memory of the form."""

    authority: Authority = Authority()
    kl: KlFilter = KlFilter()
    step: LastStep = -1
    """The last step that was taken in."""

    def track(self, sensitivity: Sensitivity, kl: float, step: int, target_kl: float) -> Decoupling:
        """Take one round in: KL as it was measured (nats), and its unroll's sensitivities."""
        authority = self.authority.track(sensitivity, kl, target_kl)
        log_beta = math.log(sensitivity.beta)
        pull = authority.pull(log_beta)
        if self.kl.measurements == 0 and step > 0:
            estimate = KlFilter.resume(kl, pull.at(log_beta), target_kl)
        else:
            estimate = self.kl if self.kl.measurements else KlFilter.start(target_kl)
            for _ in range(min(step - self.step - 1, 100) if self.step >= 0 else 0):  # steps without an update
                estimate = estimate.advance(sensitivity.share, pull, log_beta, target_kl)
            estimate = estimate.observe(kl, target_kl)
        return Decoupling(authority, estimate.advance(sensitivity.share, pull, log_beta, target_kl), step)


class Aim(NamedTuple):
    """Targets and bounds of one decision."""

    target_entropy: float | None
    """H* (nats); None: τ is left alone."""
    kl_set_point: float
    """Set point of KL (nats), on its way to KL*; 0: β is left alone."""
    target_kl: float
    """KL* (nats), which the model's noise is relative to."""
    bandwidth: float
    """ω: KL's error decays as e^(−ω) a step, with a double pole."""
    beta_bounds: tuple[float, float]
    """Bounds that the controller's rule projects β to; proposals may lie outside, but τ makes room for no more."""
    reference_in_weights: bool = True
    """β is a part of κ = τ + β; else β takes nothing from τ."""


def decoupled(
    memory: Decoupling,
    sensitivity: Sensitivity,
    entropy: float | None,
    latest: tuple[float, float],
    pending: int,
    aim: Aim,
) -> ControllerGradients:
    """Moves of ln τ and ln β, as gradients: ``tau_grad`` = −Δ ln τ, ``beta_grad`` = +Δ ln β.

    Args:
        memory: This round included.
        sensitivity: Merged over ranks; carries the coefficients of the measured batch.
        entropy: H as it was measured (nats).
        latest: (τ, β) of the newest decision, which the moves start from.
        pending: Decisions that training has not shown yet (the runtime's lag).
        aim: Targets and bounds.
    """
    tau, beta = latest
    tau_move = beta_move = None
    if aim.kl_set_point > 0:
        beta_move = _beta_move(memory, sensitivity, pending, math.log(beta), aim, _most_beta(aim, sensitivity, entropy))
        beta = min(max(beta * math.exp(beta_move), aim.beta_bounds[0]), aim.beta_bounds[1])
    if aim.target_entropy is not None and entropy is not None:
        aimed = _newton_tau(sensitivity, entropy - aim.target_entropy) + _make_room(sensitivity, beta)
        log_aimed = math.log(aimed) if aimed > 0 else -math.inf
        tau_move = _cut(log_aimed - math.log(tau))
    return ControllerGradients(None if tau_move is None else -tau_move, beta_move)


def _most_beta(aim: Aim, sensitivity: Sensitivity, entropy: float | None) -> float:
    """The largest β with which τ still holds H: a share of the κ = τ + β that H* asks for."""
    if aim.target_entropy is None or entropy is None or not aim.reference_in_weights:
        return math.inf
    kappa = _newton_tau(sensitivity, entropy - aim.target_entropy) + sensitivity.beta
    return LARGEST_SHARE_OF_BETA * kappa


def _beta_move(
    memory: Decoupling, sensitivity: Sensitivity, pending: int, log_beta: float, aim: Aim, most: float
) -> float:
    """Place both poles of (KL − KL*, velocity) at e^(−ω): the drive d* = −k₁(KL − KL*) − k₂v, hence π, hence β."""
    share = sensitivity.share
    if share > MOMENTUM_BUILT_UP and memory.kl.measurements < 1 / MOMENTUM_BUILT_UP:
        return 0.0
    pull = memory.authority.pull(math.log(sensitivity.beta))
    estimate = memory.kl
    for _ in range(pending):
        estimate = estimate.predict(share, pull, log_beta)
    pole = math.exp(-aim.bandwidth)
    on_error, on_velocity = (1 - pole) ** 2 / share, (1 - share - pole**2) / share
    wanted = -on_error * (estimate.level - aim.kl_set_point) - on_velocity * estimate.velocity
    needed = (estimate.push - wanted) / max(estimate.level, 0.1 * aim.target_kl)
    reach = _reach(estimate.level - aim.kl_set_point, memory.kl.level_level)
    placed = min(max(pull.log_beta_for(needed), pull.log_beta - reach), pull.log_beta + reach)
    return _cut(min(placed, math.log(most)) - log_beta)


def _reach(error: float, variance: float) -> float:
    """Deviation of KL from its target in standard deviations, cut to the two ranges."""
    uncertainty = math.sqrt(max(variance, 0.0))
    if abs(error) >= FREE_RANGE * uncertainty:
        return FREE_RANGE
    return max(abs(error) / uncertainty, QUIET_RANGE)


def _newton_tau(sensitivity: Sensitivity, error: float) -> float:
    """The τ that brings H to its target while β stays: a damped Newton step in ln τ."""
    slope = sensitivity.entropy_tau * sensitivity.tau
    step = NEWTON_GAIN * error * slope / (slope**2 + FLAT_ENTROPY**2)
    return sensitivity.tau * math.exp(-min(max(step, -1.5), 1.5))


def _make_room(sensitivity: Sensitivity, beta: float) -> float:
    """Change of τ that keeps H constant when β moves from its measured value to ``beta``."""
    ratio = sensitivity.entropy_beta / sensitivity.entropy_tau if sensitivity.entropy_tau > 0 else 0.0
    return -min(max(ratio, -1.0), 1.0) * (beta - sensitivity.beta)


def _cut(move: float) -> float:
    """The move inside the trust region."""
    return min(max(move, -LARGEST_LOG_MOVE), LARGEST_LOG_MOVE)


class DecoupledObjective(SensitivityObjective):
    """Truncated backprop by :func:`decoupled`.

    Args:
        steps: K ≥ 1.
        bandwidth: ω, see :class:`Aim`.
        beta_bounds: Bounds of β.
        reference_in_weights: The weights depend on β too.
    """

    name = "decoupled"
    memory_type = Decoupling

    def __init__(
        self, steps: int, *, bandwidth: float, beta_bounds: tuple[float, float], reference_in_weights: bool = True
    ) -> None:
        super().__init__(steps, fallback=None)
        self.bandwidth = bandwidth
        self.beta_bounds = beta_bounds
        self.reference_in_weights = reference_in_weights

    def form(
        self, sensitivity: Sensitivity, meta_ctx: ControllerMetaContext, memory: Memory
    ) -> tuple[ControllerGradients, Memory]:
        """Form the signals from one round's merged sensitivities."""
        latest = meta_ctx.coefficients
        if latest is None:
            raise ConfigError("the decoupled form needs ControllerMetaContext.coefficients, the newest τ and β")
        entropy, kl, targets = meta_ctx.entropy_value(), meta_ctx.kl_metric(), meta_ctx.weighting
        set_point = targets.kl_target if kl is not None else 0.0
        known, target_kl = build_dataclass(Decoupling, memory), meta_ctx.target_kl()
        if kl is not None and set_point > 0:
            known = known.track(sensitivity, kl, meta_ctx.global_step, target_kl)
        wanted = (targets.tau_target_entropy, set_point, target_kl)
        aim = Aim(*wanted, self.bandwidth, self.beta_bounds, self.reference_in_weights)
        pending = min(max(latest.version - sensitivity.version, 0), MOST_PENDING)
        signals = decoupled(known, sensitivity, entropy, (latest.tau, latest.beta), pending, aim)
        return signals, to_plain(known)


@dataclass(frozen=True, kw_only=True)
class Decoupled(FormBase):
    """Settings of the form.

    Example:
        >>> from maxent_ray.core.objectives import TruncatedBackprop
        >>> TruncatedBackprop(form=Decoupled(kl_bandwidth=0.1)).steps_itself
        True
    """

    steps_itself: ClassVar[bool] = True

    type: Literal["decoupled"] = "decoupled"
    kl_bandwidth: float = 0.16
    """ω: KL's error decays as e^(−ω) a step (0.1 careful, 0.2 quick and more restless)."""

    def check(self, loops: Loops, fallback: str | None) -> None:
        """Raise ConfigError for a value out of range, or a setting that the form does not use."""
        if not 0 < self.kl_bandwidth < 1:
            raise ConfigError(f"objective.form.kl_bandwidth is {self.kl_bandwidth}; it must be in (0, 1)")
        entropies, by_itself = " or ".join(map(repr, WEIGHT_ENTROPIES)), "null, as the form steps by itself"
        needed = {
            "entropy_signal": (loops.entropy_signal in WEIGHT_ENTROPIES, entropies),
            "kl_signal": (loops.kl_signal == "policy_kl", "'policy_kl'"),
            "tau_rule": (loops.tau_rule is None, by_itself),
            "beta_rule": (loops.beta_rule is None, by_itself),
        }
        for name, (fits, valid) in needed.items():
            if not fits:
                found = getattr(loops, name)
                raise ConfigError(f"{name} is {found!r}; it must be {valid} when objective.form.type is 'decoupled'")
        if fallback is not None:
            valid = "it must be null when objective.form.type is 'decoupled', whose signals are steps"
            raise ConfigError(f"objective.fallback is {fallback!r}; {valid}")

    def build(self, loops: Loops, steps: int, fallback: Literal["analytic"] | None) -> SensitivityObjective:
        """The objective."""
        return DecoupledObjective(
            steps,
            bandwidth=self.kl_bandwidth,
            beta_bounds=loops.beta_bounds,
            reference_in_weights=loops.reference_in_weights,
        )

    def why_at_rest(self, coefficient: str, share: float, tied_share: float) -> str:
        """Explain a coefficient that does not move: τ makes Newton steps, a filter places β inside its share of κ."""
        if coefficient == "tau":
            tied = f" (in {tied_share:.0%} of the groups all rewards tie)" if tied_share > 0 else ""
            return f"the Newton step finds the weights' entropy flat around this τ{tied}; start nearer to the target"
        if share > 0.6:
            rooms = "raise target_entropy (or target_entropy_fraction) or target_kl"
            return f"β has all of κ = τ + β that the form leaves to it ({share:.0%}); {rooms}"
        return f"KL is steered too gently for this error (kl_bandwidth = {self.kl_bandwidth:.4g}); raise kl_bandwidth"
