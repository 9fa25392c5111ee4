"""Settings of the rules that act on the error signal: ``pi``, ``sgd``, ``adam``, ``newton``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from maxent_ray.core.statistics import NO_SLOPE, WEIGHT_ENTROPIES
from maxent_ray.core.update_rules.adaptive import adaptive_pi
from maxent_ray.core.update_rules.base import UpdateRule
from maxent_ray.core.update_rules.loop import (
    DEFAULT_CLIPS,
    FAST,
    SLOW,
    SLOW_CLIP,
    SLOW_SMOOTHING,
    WIDE_CLIPS,
    Gains,
    Loop,
    is_positive,
    require_setting,
)
from maxent_ray.core.update_rules.rising import rising_pi
from maxent_ray.core.update_rules.step_limit import limit_step
from maxent_ray.core.update_rules.steps import Space, adam, newton, proportional_integral, sgd
from maxent_ray.core.update_rules.transforms import clip, deadband, ema, scale_by_confidence
from maxent_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ErrorRule:
    """A rule that acts on the error signal: clip → ema → step, which a dead band may hold back."""

    reads_measurement: ClassVar[bool] = False
    plans_anew: ClassVar[bool] = False
    """True of a rule whose step is the whole way from where the coefficient is."""

    learning_rate: float | None = None
    """Step per unit of relative error; null: by the signal's response, or the rule's usual one."""
    space: Space = "log"
    """``log``: steps are relative, τ = .01 and τ = 1 move equally fast."""
    clip: float | Literal["auto"] | None = "auto"
    """Largest relative error that counts; auto: .25 for τ, 1 for β (.5 with ``pi`` and a slow response), 1 where gains
    are found out; null: none."""
    ema_decay: float | None = None
    """Smoothing of the error signal; 0: none; null: by the signal's response with ``pi``, else none."""
    dead_band: float = 0.0
    """Relative errors up to this are ignored."""

    def check(self, loop: Loop) -> None:
        """Raise ConfigError for a value out of range."""
        rate, limit = self.learning_rate, self.clip_of(loop)
        valid = "> 0, or null for the default of its response"
        require_setting(rate is None or is_positive(rate), loop, "learning_rate", rate, valid)
        require_setting(self.space in ("log", "linear"), loop, "space", self.space, "log or linear")
        require_setting(limit is None or is_positive(limit), loop, "clip", limit, "> 0, auto, or null for none")
        decay, valid = self.ema_decay, "in [0, 1), or null for the default of its response"
        require_setting(decay is None or 0 <= decay < 1, loop, "ema_decay", decay, valid)
        require_setting(0 <= self.dead_band < math.inf, loop, "dead_band", self.dead_band, ">= 0, and finite")
        in_range = self.space == "linear" or loop.low > 0
        require_setting(in_range, loop, "space", self.space, f"linear while {loop.coefficient}_min = {loop.low:g}")
        self.check_response(loop)

    def check_response(self, loop: Loop) -> None:
        """Raise ConfigError where gains are to be found out and this rule cannot do it."""
        if self.finds_gains(loop):
            only = f"{loop.response_field} is auto, and only the rule pi finds its gains by itself"
            raise ConfigError(f"{loop.field}.learning_rate is None and {only}; set it, or choose pi, fast or slow")

    def clip_of(self, loop: Loop) -> float | None:
        """The clip in force."""
        usual = WIDE_CLIPS if self.finds_gains(loop) else DEFAULT_CLIPS
        return usual[loop.coefficient] if self.clip == "auto" else self.clip

    def finds_gains(self, loop: Loop) -> bool:
        """True where the response is to be found out and no learning rate was set."""
        return loop.response == "auto" and self.learning_rate is None

    def expected_response(self, loop: Loop) -> Literal["fast", "slow"]:
        """The response as set; where it is to be found out, the declared one."""
        return loop.expected if loop.response == "auto" else loop.response

    def gains(self, loop: Loop) -> Gains:
        """Gains as set, else by the response; where that is to be found out, those of the expected one."""
        usual = FAST[loop.coefficient] if self.expected_response(loop) == "fast" else SLOW
        return usual if self.learning_rate is None else usual._replace(integral=self.learning_rate)

    def smoothing(self, loop: Loop) -> float:
        """Decay of the smoothing in force."""
        return 0.0 if self.ema_decay is None else self.ema_decay

    def parts(self, loop: Loop) -> dict[str, UpdateRule]:
        """Links of the chain, those of them that are asked for."""
        limit, decay = self.clip_of(loop), self.smoothing(loop)
        step = scale_by_confidence(self.step(loop), self.space)
        if loop.max_step_factor is not None and self.space == "log":
            step = limit_step(step, loop.max_step_factor, loop.low, loop.high, owes=not self.plans_anew)
        parts: dict[str, UpdateRule] = {}
        if limit is not None:
            parts["clip"] = clip(limit)
        if decay > 0:
            parts["ema"] = ema(decay)
        return {**parts, "step": deadband(self.dead_band, step) if self.dead_band > 0 else step}

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        raise NotImplementedError

    def why_at_rest(self, loop: Loop, in_dead_band: bool) -> str:
        """Explain a coefficient that has a signal and does not move."""
        if in_dead_band:
            return f"{loop.field}.dead_band = {self.dead_band:.4g} is wider than the error; lower it"
        limit = self.clip_of(loop)
        cut = "" if limit is None else f", on errors cut to {limit:.4g},"
        if self.finds_gains(loop):
            return f"the gains found with {loop.response_field} = auto are too small; set {loop.field}.learning_rate"
        rate = f"{loop.field}.learning_rate = {self.gains(loop).integral:.4g}"
        return f"{rate}{cut} is too small for these gradients; raise it"


@dataclass(frozen=True, kw_only=True)
class PI(ErrorRule):
    """Proportional-integral control, ``proportional_integral``, or ``adaptive_pi`` while the response is ``auto``.

    Example:
        >>> PI(proportional_gain=0.5).gains(Loop("beta", "policy_kl", low=1e-4, high=100.0))
        Gains(integral=0.2, proportional=0.5)
    """

    type: Literal["pi"] = "pi"
    proportional_gain: float | None = None
    """Step per unit of change of the relative error, in linear space in units of the coefficient: set it there. null:
    by the signal's response, for steps in log space; of a KL against a frozen policy less where it rises fast."""

    def check(self, loop: Loop) -> None:
        """Raise ConfigError for a value out of range."""
        super().check(loop)
        gain = self.proportional_gain
        valid = ">= 0, or null for the default of its response"
        require_setting(gain is None or 0 <= gain < math.inf, loop, "proportional_gain", gain, valid)

    def gains(self, loop: Loop) -> Gains:
        """Gains as set, else by the signal's response."""
        gains = super().gains(loop)
        return gains if self.proportional_gain is None else gains._replace(proportional=self.proportional_gain)

    def clip_of(self, loop: Loop) -> float | None:
        """The clip in force."""
        limit = super().clip_of(loop)
        return min(limit, SLOW_CLIP) if limit and self.clip == "auto" and self._is_slow(loop) else limit

    def smoothing(self, loop: Loop) -> float:
        """Decay of the smoothing as set, else by the signal's response; none where gains are found out."""
        if self.ema_decay is not None:
            return self.ema_decay
        return SLOW_SMOOTHING if self._is_slow(loop) else 0.0

    def _is_slow(self, loop: Loop) -> bool:
        """True where the gains are those of a slow response."""
        return self.expected_response(loop) == "slow" and not self.finds_gains(loop)

    def check_response(self, loop: Loop) -> None:
        """Raise ConfigError for settings that contradict gains which are to be found out."""
        if not self.finds_gains(loop):
            return
        gain, found = self.proportional_gain, f"null while {loop.response_field} is auto, unless learning_rate is set"
        require_setting(gain is None, loop, "proportional_gain", gain, found)
        require_setting(self.space == "log", loop, "space", self.space, f"log while {loop.response_field} is auto")

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        if self.finds_gains(loop):
            return adaptive_pi(loop.expected)
        gains = self.gains(loop)
        starts_at_0 = loop.signal == "policy_kl" and loop.expected == "slow"  # against a frozen policy
        if starts_at_0 and self.proportional_gain is None and self._is_slow(loop):
            return rising_pi(gains, self.space)
        return proportional_integral(gains.proportional, gains.integral, space=self.space)


@dataclass(frozen=True, kw_only=True)
class SGD(ErrorRule):
    """Gradient steps, ``sgd``.

    Example:
        >>> from maxent_ray.core.update_rules import Signal
        >>> from maxent_ray.core.update_rules.settings import build_rule
        >>> rule = build_rule(SGD(learning_rate=0.1, space="linear"), Loop("tau", "weight_entropy", 0.0, 1.0))
        >>> round(rule.update(Signal(gradient=0.2, value=0.3), rule.init(0.3))[0].value, 6)
        0.28
    """

    type: Literal["sgd"] = "sgd"

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return sgd(self.gains(loop).integral, space=self.space)


@dataclass(frozen=True, kw_only=True)
class Adam(ErrorRule):
    """Steps of one length, ``adam``; its usual learning rate is .05.

    Example:
        >>> from maxent_ray.core.update_rules import Signal
        >>> from maxent_ray.core.update_rules.settings import build_rule
        >>> rule = build_rule(Adam(space="linear"), Loop("tau", "weight_entropy", 0.0, 1.0))
        >>> round(rule.update(Signal(gradient=0.2, value=0.3), rule.init(0.3))[0].value, 6)
        0.25
    """

    type: Literal["adam"] = "adam"

    def gains(self, loop: Loop) -> Gains:
        """The learning rate, which is in the units of the coefficient and does not depend on the signal."""
        return Gains(0.05 if self.learning_rate is None else self.learning_rate, 0.0)

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return adam(self.gains(loop).integral, space=self.space)


@dataclass(frozen=True, kw_only=True)
class Newton(ErrorRule):
    """Damped Newton steps by the curvature of the weights' dual, ``newton``: meant for weight signals.

    Example:
        >>> from maxent_ray.core.update_rules import Signal
        >>> from maxent_ray.core.update_rules.settings import build_rule
        >>> rule = build_rule(Newton(space="linear"), Loop("tau", "weight_entropy", 0.0, 1.0))
        >>> signal = Signal(gradient=0.099, value=0.3, curvature=0.98)
        >>> rule.update(signal, rule.init(0.3))[0].value  # .3 − .5·.099/(.98 + .01)
        0.25
    """

    plans_anew: ClassVar[bool] = True

    type: Literal["newton"] = "newton"

    def check(self, loop: Loop) -> None:
        """Raise ConfigError for a value out of range, or a signal whose derivative is not known."""
        super().check(loop)
        if loop.signal == "mode_entropy":
            remedy = f"set {loop.field}.type to pi, or entropy_signal to {' or '.join(WEIGHT_ENTROPIES)}"
            raise ConfigError(f"{loop.field}.type is newton and entropy_signal is mode_entropy, {NO_SLOPE}; {remedy}")

    def gains(self, loop: Loop) -> Gains:
        """The learning rate: a part of the full Newton step."""
        return Gains(0.5 if self.learning_rate is None else self.learning_rate, 0.0)

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return newton(damping=1e-2, learning_rate=self.gains(loop).integral, max_step=0.5, space=self.space)
