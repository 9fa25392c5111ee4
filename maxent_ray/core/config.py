"""Settings of one controller: what it tracks, how it moves, and between which bounds. Checked once, then frozen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from maxent_ray.core.config_checks import check_config
from maxent_ray.core.diagnostics.alarms import Actuator
from maxent_ray.core.numbers import hold_exact_numbers
from maxent_ray.core.objectives.analytic import Analytic
from maxent_ray.core.objectives.settings import ObjectiveSettings
from maxent_ray.core.objectives.settings_base import Loops, Unroll
from maxent_ray.core.statistics import (
    WEIGHT_ENTROPIES,
    BatchStatistics,
    CoefficientBounds,
    EntropySignal,
    KlReference,
    KlSignal,
)
from maxent_ray.core.unions import build_settings
from maxent_ray.core.update_rules.error_rules import PI, SGD
from maxent_ray.core.update_rules.loop import Loop, Response
from maxent_ray.core.update_rules.settings import RuleSettings
from maxent_ray.core.weightings import TauRange, Weighting


class _AsGiven(SGD):
    """Rule of an objective whose signals are steps of ln τ and ln β already, planned from where they are."""

    plans_anew: ClassVar[bool] = True


_STEPS_AS_GIVEN = _AsGiven(learning_rate=1.0, clip=None)


_USUAL_TAU: Mapping[EntropySignal, TauRange] = {
    "weight_entropy": TauRange(initial=0.3, low=1e-3),
    "informative_weight_entropy": TauRange(initial=0.3, low=1e-3),
    "mode_entropy": TauRange(initial=0.3, low=1e-3),
    "policy_entropy": TauRange(initial=0.01, low=1e-6),  # an entropy bonus in the loss
}
"""Range of τ where settings name no weighting."""


@dataclass(frozen=True)
class ControllerConfig:
    """Settings of a :class:`~maxent_ray.core.controller.Controller`.

    Errors reach the update rules as relative errors, (H − H*)/``entropy_scale`` and (KL − KL*)/KL*, so a learning
    rate, a clip and a dead band mean the same for τ and β and for both objectives (the form ``joint`` excepted: its
    gradients are per unit of coefficient and want rates of their own). While a set point r moves to its target, H is
    compared with r, and KL by (KL − r)/√(r·KL*).

    Raises:
        ConfigError: a value is out of range; the message names the field, the value and the range.

    Example:
        >>> ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05).objective.type
        'analytic'
        >>> continuous = ControllerConfig(entropy_signal="policy_entropy", target_entropy=-1.0)  # a general policy
        >>> continuous.entropy_scale_at(0), continuous.initial("tau")
        (1.0, 0.01)
    """

    objective: ObjectiveSettings | None = Analytic()
    """From measurements to error signals; None keeps τ and β fixed."""
    group_size: int | None = None
    """G ≥ 2: completions per prompt; weight entropies lie between 0 and log G. None: there are no groups."""
    weighting: Weighting | None = None
    """Weighting whose coefficient τ is. None: not known here; τ's range follows from the entropy signal."""
    tau: float | None = None
    """Initial τ; None: the weighting's published value; without a weighting .3, and .01 for ``policy_entropy``."""
    beta: float = 0.1
    """Initial β."""

    entropy_signal: EntropySignal = "weight_entropy"
    """H: ``weight_entropy`` (nats per group), ``informative_weight_entropy`` (the same over the groups whose rewards
    differ), ``mode_entropy`` (of the distinct modes among a group's correct answers, nats per group that has one), or
    ``policy_entropy`` (nats per token or timestep)."""
    kl_signal: KlSignal | None = "policy_kl"
    """KL: ``policy_kl`` (nats per token or timestep), or ``weight_kl`` (nats per group). None: no KL is measured."""
    kl_reference: KlReference = "frozen_policy"
    """Policy that ``policy_kl`` is measured against; ``behaviour_policy``: the one that sampled the batch (PPO)."""
    entropy_response: Response | None = None
    """Time in which H answers to τ, which gains follow from; None: fast for entropies of the weights, else slow."""
    kl_response: Response | None = None
    """Time in which KL answers to β; None: fast for ``weight_kl`` and for a KL to the behaviour policy, else slow."""
    target_entropy: float | None = None
    """H* in nats, which may be negative for ``policy_entropy``; None leaves τ alone, unless
    ``target_entropy_fraction`` is set."""
    entropy_scale: float | None = None
    """Error of H that counts as 100 % (nats); None: H* itself, or 1 nat if some target is not above 0."""
    target_entropy_fraction: float | None = None
    """H* as a fraction of log G; give this or ``target_entropy``."""
    target_entropy_final: float | None = None
    """H* at the end of the annealing (nats); None: no annealing."""
    target_entropy_final_fraction: float | None = None
    """H* at the end of the annealing, as a fraction of log G."""
    target_entropy_horizon: int = 0
    """Steps over which H* is annealed linearly."""
    target_kl: float = 0.0
    """KL* in nats; 0 leaves β alone."""

    tau_rule: RuleSettings | None = None
    """From the error signal to steps of τ; None: ``pi``, unless the objective steps by itself."""
    beta_rule: RuleSettings | None = None
    tau_min: float | None = None
    """Lower bound of τ; None: the weighting's; without a weighting 1e-3, and 1e-6 for ``policy_entropy``."""
    tau_max: float | None = None
    """Upper bound of τ; None: the weighting's, or 100."""
    beta_min: float = 1e-4
    beta_max: float = 100.0

    max_step_factor: float | None = 3.0
    """Largest factor that one step moves τ or β by, > 1, of rules in log space that act on errors; what a step
    withholds, later ones make up for. None: any factor."""
    set_point_horizon: int = 0
    """Steps in which the set points of H and KL go from what is measured to their targets, at the start and after a
    change of target; 0: at once."""

    warmup_steps: int = 0
    update_interval: int = 1
    """Steps between two updates; the statistics of the steps between are merged, not dropped."""
    saturation_patience: int = 20
    """Updates at a bound, still pushed outwards, after which the target is reported as infeasible at the earliest;
    noise and slow signals take more. Signals that take up to 25 times as long to answer are waited for. The detectors
    (:mod:`~maxent_ray.core.diagnostics.detectors`) judge every so many updates, and every 8 at the least."""

    def __post_init__(self) -> None:
        """Check every field."""
        hold_exact_numbers(self)
        check_config(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ControllerConfig:
        """Inverse of :meth:`to_dict`, also by way of JSON."""
        config: ControllerConfig = build_settings(cls, values)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @property
    def max_entropy(self) -> float:
        """log G, the largest entropy of weights or modes (nats); infinite without groups."""
        return math.inf if self.group_size is None else math.log(self.group_size)

    @property
    def label(self) -> str:
        """Name of the objective in rows, metrics and tables; ``fixed`` without one."""
        return "fixed" if self.objective is None else self.objective.label

    @property
    def unroll(self) -> Unroll | None:
        """Unroll that workers do on update steps; None: none."""
        return None if self.objective is None else self.objective.unroll

    def target_entropy_at(self, step: int) -> float | None:
        """H* at a step, annealed linearly (nats).

        Example:
            >>> config = ControllerConfig(group_size=8, target_entropy=2.0, target_entropy_final=1.0,
            ...                           target_entropy_horizon=10)
            >>> config.target_entropy_at(5), config.target_entropy_at(50)
            (1.5, 1.0)
        """
        first, last = self.entropy_targets
        if first is None or last is None:
            return first
        progress = min(max(step / self.target_entropy_horizon, 0.0), 1.0)
        return first + progress * (last - first)

    @property
    def entropy_targets(self) -> tuple[float | None, float | None]:
        """H* at the start, and at the end of the annealing (nats)."""
        first, last = self.target_entropy, self.target_entropy_final
        if self.target_entropy_fraction is not None:
            first = self.target_entropy_fraction * self.max_entropy
        if self.target_entropy_final_fraction is not None:
            last = self.target_entropy_final_fraction * self.max_entropy
        return first, last

    def entropy_scale_at(self, step: int) -> float:
        """Error of H that counts as 100 % at a step (nats).

        Example:
            >>> ControllerConfig(group_size=8, target_entropy=2.0).entropy_scale_at(0)
            2.0
        """
        if self.entropy_scale is not None:
            return self.entropy_scale
        if any(target is not None and target <= 0 for target in self.entropy_targets):
            return 1.0
        return self.target_entropy_at(step) or 1.0

    def moves(self, name: str) -> bool:
        """True when the controller has a target to move ``"tau"`` or ``"beta"`` by."""
        if self.objective is None:
            return False
        return self.entropy_targets[0] is not None if name == "tau" else self.target_kl > 0

    def is_update_step(self, step: int) -> bool:
        """True for the steps after which the controller moves: past the warm-up, multiples of the interval."""
        return step >= self.warmup_steps and (step + 1) % self.update_interval == 0

    def initial(self, name: str) -> float:
        """Value of ``"tau"`` or ``"beta"`` that training starts with."""
        if name == "beta":
            return self.beta
        return self.tau_range.initial if self.tau is None else self.tau

    @property
    def tau_range(self) -> TauRange:
        """Values that τ may have: those of the weighting; without one, or without a coefficient, by the signal."""
        of_weighting = None if self.weighting is None else self.weighting.tau
        return _USUAL_TAU[self.entropy_signal] if of_weighting is None else of_weighting

    def bounds(self, name: str) -> tuple[float, float]:
        """Lower and upper bound of ``"tau"`` or ``"beta"``."""
        if name == "beta":
            return self.beta_min, self.beta_max
        usual = self.tau_range
        low = usual.low if self.tau_min is None else self.tau_min
        return low, usual.high if self.tau_max is None else self.tau_max

    @property
    def reference_in_weights(self) -> bool:
        """True where the weights depend on β too, so that β is a part of κ = τ + β."""
        return self.weighting is None or self.weighting.reference_in_weights

    @property
    def coefficient_bounds(self) -> CoefficientBounds:
        """Bounds of both, as :func:`~maxent_ray.core.statistics.batch_statistics` takes them."""
        return CoefficientBounds(self.bounds("tau"), self.bounds("beta"))

    @property
    def loops(self) -> Loops:
        """Both loops, as objectives need to know them."""
        return Loops(
            self.entropy_signal,
            self.kl_signal,
            self.tau_rule,
            self.beta_rule,
            self.bounds("beta"),
            self.reference_in_weights,
        )

    def loop(self, name: str) -> Loop:
        """The loop of ``"tau"`` or ``"beta"``, as its rule needs to know it."""
        return Loop(
            name,
            self.signal(name),
            *self.bounds(name),
            self.response(name),
            steps=self.update_interval,
            expected=self.expected_response(name),
            max_step_factor=self.max_step_factor,
        )

    def signal(self, name: str) -> EntropySignal | KlSignal | None:
        """The signal that ``"tau"`` or ``"beta"`` holds on target; None: there is none."""
        return self.entropy_signal if name == "tau" else self.kl_signal

    def measure(self, name: str, statistics: BatchStatistics) -> float | None:
        """Mean of the signal of ``"tau"`` or ``"beta"`` over a batch (nats); None where there is none.

        Example:
            >>> ControllerConfig().measure("beta", BatchStatistics(tokens=4, policy_kl_sum=0.2))
            0.05
        """
        signal = self.signal(name)
        return None if signal is None else statistics.mean(signal)

    def response(self, name: str) -> Response:
        """Time in which that signal answers: as set, else as declared."""
        chosen = self.entropy_response if name == "tau" else self.kl_response
        return self.expected_response(name) if chosen is None else chosen

    def expected_response(self, name: str) -> Literal["fast", "slow"]:
        """Time in which the signal of ``"tau"`` or ``"beta"`` answers, as declared."""
        of_weights = self.signal(name) in (*WEIGHT_ENTROPIES, "weight_kl")
        return "fast" if of_weights or (name == "beta" and self.kl_reference == "behaviour_policy") else "slow"

    def target_at(self, name: str, step: int) -> float | None:
        """Target of ``"tau"`` or ``"beta"`` at a step (nats); None where the controller does not move it."""
        if not self.moves(name):
            return None
        return self.target_entropy_at(step) if name == "tau" else self.target_kl

    def rule(self, name: str) -> RuleSettings:
        """Settings of the rule that moves ``"tau"`` or ``"beta"``."""
        chosen = self.tau_rule if name == "tau" else self.beta_rule
        if self.objective is not None and self.objective.steps_itself:
            return _STEPS_AS_GIVEN
        return PI() if chosen is None else chosen

    def actuator(self, name: str) -> Actuator:
        """``"tau"`` or ``"beta"`` and its purpose, as alarms describe it."""
        low, high = self.bounds(name)
        return Actuator(
            name=name,
            signal=self.loop(name).signal,
            low=low,
            high=high,
            targets=self.entropy_targets if name == "tau" else (self.target_kl,),
            patience=self.saturation_patience,
            why_at_rest=partial(self.why_at_rest, name),
            reference_in_weights=self.reference_in_weights,
        )

    def why_at_rest(self, name: str, share: float, tied_share: float, in_dead_band: bool) -> str:
        """Explain why ``"tau"`` or ``"beta"`` has a signal and does not move.

        Args:
            name: The coefficient.
            share: β/κ; 0 where the weights do not depend on β.
            tied_share: Share of the groups whose rewards all tie.
            in_dead_band: Every error of late was inside the dead band.
        """
        of_objective = "" if self.objective is None else self.objective.why_at_rest(name, share, tied_share)
        return of_objective or self.rule(name).why_at_rest(self.loop(name), in_dead_band)
