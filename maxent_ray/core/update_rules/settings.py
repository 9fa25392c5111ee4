"""Settings of the update rules: a union on ``type``, each member declaring its own and building its rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

from maxent_ray import plugins
from maxent_ray.core.update_rules.anti_windup import anti_windup
from maxent_ray.core.update_rules.base import RuleState, Signal, UpdateRule, chain, check_finite
from maxent_ray.core.update_rules.baselines import adaptive_kl, entropy_step, sac_alpha, threshold_kl
from maxent_ray.core.update_rules.steps import Space, adam, newton, proportional_integral, sgd
from maxent_ray.core.update_rules.transforms import clip, deadband, ema, project
from maxent_ray.errors import ConfigError, InvalidReportError

DEFAULT_CLIPS = {"tau": 0.25, "beta": 1.0}
"""Largest relative error that τ and β act on, where ``clip`` is ``auto``."""


class Loop(NamedTuple):
    """The coefficient that a rule moves, and what it is measured by."""

    coefficient: str
    """``tau`` or ``beta``."""
    signal: str
    """The declared signal that it holds on target."""
    low: float
    high: float
    """Its bounds."""
    steps: int = 1
    """Training steps between two updates."""

    @property
    def raises(self) -> bool:
        """τ raises the entropy; β lowers the KL."""
        return self.coefficient == "tau"

    @property
    def is_fast(self) -> bool:
        """True for a signal that answers in the very next batch: one of the weights, which τ and β are part of."""
        return self.signal in ("weight_entropy", "weight_kl")

    @property
    def field(self) -> str:
        """Name of the rule's settings, for messages."""
        return f"{self.coefficient}_rule"


class Gains(NamedTuple):
    """Step of one coefficient per unit of relative error."""

    integral: float
    """Per unit of error; the learning rate of rules other than ``pi``."""
    proportional: float
    """Per unit of change of the error; ``pi`` only."""


SLOW = Gains(integral=0.2, proportional=2.0)
"""For signals that answer over many policy steps: without a proportional part the loop swings around its target."""
FAST = {"tau": Gains(2.0, 0.0), "beta": Gains(0.2, 0.0)}
"""For signals that answer in the very next batch: an integrator alone."""


@dataclass(frozen=True, kw_only=True)
class _ErrorRule:
    """A rule that acts on the error signal: clip → ema → step, which a dead band may hold back."""

    reads_measurement: ClassVar[bool] = False

    learning_rate: float | None = None
    """Step per unit of relative error; null: by the signal, or the rule's usual one."""
    space: Space = "log"
    """``log``: steps are relative, τ = .01 and τ = 1 move equally fast."""
    clip: float | Literal["auto"] | None = "auto"
    """Largest relative error that counts; auto: .25 for τ, 1 for β; null: none."""
    ema_decay: float = 0.0
    """Smoothing of the error signal; 0: none."""
    dead_band: float = 0.0
    """Relative errors up to this are ignored."""

    def check(self, loop: Loop) -> None:
        """Raise ConfigError for a value out of range."""
        rate, limit = self.learning_rate, self.clip_of(loop)
        valid = "> 0, or null for the signal's default"
        _require(rate is None or _is_positive(rate), loop, "learning_rate", rate, valid)
        _require(self.space in ("log", "linear"), loop, "space", self.space, "log or linear")
        _require(limit is None or _is_positive(limit), loop, "clip", limit, "> 0, auto, or null for none")
        _require(0 <= self.ema_decay < 1, loop, "ema_decay", self.ema_decay, "in [0, 1)")
        _require(0 <= self.dead_band < math.inf, loop, "dead_band", self.dead_band, ">= 0, and finite")
        in_range = self.space == "linear" or loop.low > 0
        _require(in_range, loop, "space", self.space, f"linear while {loop.coefficient}_min = {loop.low:g}")

    def clip_of(self, loop: Loop) -> float | None:
        """The clip in force."""
        return DEFAULT_CLIPS[loop.coefficient] if self.clip == "auto" else self.clip

    def gains(self, loop: Loop) -> Gains:
        """Gains as set, else by the signal that the coefficient answers for."""
        usual = FAST[loop.coefficient] if loop.is_fast else SLOW
        return usual if self.learning_rate is None else usual._replace(integral=self.learning_rate)

    def parts(self, loop: Loop) -> dict[str, UpdateRule]:
        """Links of the chain, those of them that are asked for."""
        limit, step = self.clip_of(loop), self.step(loop)
        parts: dict[str, UpdateRule] = {}
        if limit is not None:
            parts["clip"] = clip(limit)
        if self.ema_decay > 0:
            parts["ema"] = ema(self.ema_decay)
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
        rate = f"{loop.field}.learning_rate = {self.gains(loop).integral:.4g}"
        return f"{rate}{cut} is too small for these gradients; raise it"


@dataclass(frozen=True, kw_only=True)
class PI(_ErrorRule):
    """Proportional-integral control, ``proportional_integral``.

    Example:
        >>> PI(proportional_gain=0.5).gains(Loop("beta", "policy_kl", low=1e-4, high=100.0))
        Gains(integral=0.2, proportional=0.5)
    """

    type: Literal["pi"] = "pi"
    proportional_gain: float | None = None
    """Step per unit of change of the relative error; null: by the signal."""

    def check(self, loop: Loop) -> None:
        """Raise ConfigError for a value out of range."""
        super().check(loop)
        gain = self.proportional_gain
        valid = ">= 0, or null for the signal's default"
        _require(gain is None or 0 <= gain < math.inf, loop, "proportional_gain", gain, valid)

    def gains(self, loop: Loop) -> Gains:
        """Gains as set, else by the signal."""
        gains = super().gains(loop)
        return gains if self.proportional_gain is None else gains._replace(proportional=self.proportional_gain)

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        gains = self.gains(loop)
        return proportional_integral(gains.proportional, gains.integral, space=self.space)


@dataclass(frozen=True, kw_only=True)
class SGD(_ErrorRule):
    """Gradient steps, ``sgd``.

    Example:
        >>> rule = build_rule(SGD(learning_rate=0.1, space="linear"), Loop("tau", "weight_entropy", 0.0, 1.0))
        >>> round(rule.update(Signal(gradient=0.2, value=0.3), rule.init(0.3))[0].value, 6)
        0.28
    """

    type: Literal["sgd"] = "sgd"

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return sgd(self.gains(loop).integral, space=self.space)


@dataclass(frozen=True, kw_only=True)
class Adam(_ErrorRule):
    """Steps of one length, ``adam``; its usual learning rate is .05.

    Example:
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
class Newton(_ErrorRule):
    """Damped Newton steps by the curvature of the weights' dual, ``newton``: meant for weight signals.

    Example:
        >>> rule = build_rule(Newton(space="linear"), Loop("tau", "weight_entropy", 0.0, 1.0))
        >>> signal = Signal(gradient=0.099, value=0.3, curvature=0.98)
        >>> rule.update(signal, rule.init(0.3))[0].value  # .3 − .5·.099/(.98 + .01)
        0.25
    """

    type: Literal["newton"] = "newton"

    def gains(self, loop: Loop) -> Gains:
        """The learning rate: a part of the full Newton step."""
        return Gains(0.5 if self.learning_rate is None else self.learning_rate, 0.0)

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return newton(damping=1e-2, learning_rate=self.gains(loop).integral, max_step=0.5, space=self.space)


@dataclass(frozen=True, kw_only=True)
class _MeasuredRule:
    """A rule of another system, which reads the measurement and its target: the error of the analytic objective."""

    reads_measurement: ClassVar[bool] = True
    """True for a rule that would ignore the signals of another objective than the analytic one."""

    def check(self, loop: Loop) -> None:
        """Raise ConfigError for a value out of range."""
        try:
            self.step(loop)
        except ConfigError as error:
            raise ConfigError(f"{loop.field}.{error}") from None

    def parts(self, loop: Loop) -> dict[str, UpdateRule]:
        """Links of the chain."""
        return {"step": self.step(loop)}

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        raise NotImplementedError

    def why_at_rest(self, loop: Loop, in_dead_band: bool) -> str:
        """Explain a coefficient that has a signal and does not move."""
        settings = {name: value for name, value in vars(self).items() if name != "type"}
        shown = ", ".join(f"{name} = {value:.4g}" for name, value in settings.items())
        return f"the steps of {loop.field} ({shown}) are too small"


@dataclass(frozen=True, kw_only=True)
class AdaptiveKL(_MeasuredRule):
    """Ziegler's rule, ``adaptive_kl``; counts training steps.

    Example:
        >>> rule = build_rule(AdaptiveKL(horizon=10), Loop("beta", "policy_kl", 1e-4, 100.0))
        >>> signal = Signal(gradient=-1.0, value=0.2, measured=0.2, target=0.1)
        >>> round(rule.update(signal, rule.init(0.2))[0].value, 6)  # .2·(1 + .2/10)
        0.204
    """

    type: Literal["adaptive_kl"] = "adaptive_kl"
    horizon: float = 100.0
    """Steps over which an error of 100 % would double the coefficient."""
    error_clip: float = 0.2

    def check(self, loop: Loop) -> None:
        """Raise ConfigError for a value out of range."""
        super().check(loop)
        longest = self.error_clip * loop.steps
        valid = f"> error_clip · update_interval = {longest:g}, or the coefficient could change its sign"
        _require(self.horizon > longest, loop, "horizon", self.horizon, valid)

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return adaptive_kl(self.horizon, error_clip=self.error_clip, raises=loop.raises)


@dataclass(frozen=True, kw_only=True)
class ThresholdKL(_MeasuredRule):
    """RLlib's rule, ``threshold_kl``.

    Example:
        >>> rule = build_rule(ThresholdKL(), Loop("tau", "weight_entropy", 1e-3, 100.0))
        >>> signal = Signal(gradient=-0.6, value=0.2, measured=0.4, target=1.0)  # H < H*/2
        >>> round(rule.update(signal, rule.init(0.2))[0].value, 6)
        0.3
    """

    type: Literal["threshold_kl"] = "threshold_kl"
    high: float = 2.0
    low: float = 0.5
    up: float = 1.5
    down: float = 0.5

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return threshold_kl(high=self.high, low=self.low, up=self.up, down=self.down, raises=loop.raises)


@dataclass(frozen=True, kw_only=True)
class EntropyStep(_MeasuredRule):
    """The rule of TRL and Skywork, ``entropy_step``, inside the coefficient's bounds.

    Example:
        >>> rule = build_rule(EntropyStep(), Loop("beta", "policy_kl", 1e-4, 100.0))
        >>> signal = Signal(gradient=-1.0, value=0.1, measured=0.2, target=0.1)  # KL > KL*
        >>> round(rule.update(signal, rule.init(0.1))[0].value, 6)
        0.105
    """

    type: Literal["entropy_step"] = "entropy_step"
    delta: float = 0.005

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return entropy_step(self.delta, low=loop.low, high=loop.high, raises=loop.raises)


@dataclass(frozen=True, kw_only=True)
class SacAlpha(_MeasuredRule):
    """SAC's rule, ``sac_alpha``.

    Example:
        >>> rule = build_rule(SacAlpha(), Loop("tau", "policy_entropy", 1e-3, 100.0))
        >>> signal = Signal(gradient=-0.3, value=0.1, measured=0.5, target=0.8)  # ln τ rises by the learning rate
        >>> round(rule.update(signal, rule.init(0.1))[0].value, 6)
        0.105127
    """

    type: Literal["sac_alpha"] = "sac_alpha"
    learning_rate: float = 0.05
    """In units of ln τ or ln β a step."""

    def check(self, loop: Loop) -> None:
        """Raise ConfigError for a value out of range."""
        super().check(loop)
        _require(loop.low > 0, loop, "type", self.type, f"another rule while {loop.coefficient}_min = {loop.low:g}")

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return sac_alpha(self.learning_rate, raises=loop.raises)


@dataclass(frozen=True, kw_only=True)
class CustomRule:
    """A rule of your own: a function that returns an :class:`~maxent_ray.core.update_rules.UpdateRule`.

    Example:
        >>> settings = CustomRule(import_path="maxent_ray.core.update_rules:sgd", kwargs={"learning_rate": 0.1})
        >>> rule = build_rule(settings, Loop("tau", "weight_entropy", 1e-3, 100.0))
        >>> round(rule.update(Signal(gradient=0.2, value=0.3), rule.init(0.3))[0].value, 6)
        0.28
    """

    type: Literal["custom"] = "custom"
    reads_measurement: ClassVar[bool] = False
    import_path: str
    """``package.module:function``."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Its arguments."""

    def check(self, loop: Loop) -> None:
        """Check the arguments. User code is imported where it is run, not where settings are read."""
        plugins.check_kwargs(self.kwargs, f"{loop.field}.kwargs")

    def parts(self, loop: Loop) -> dict[str, UpdateRule]:
        """Links of the chain.

        Raises:
            ConfigError: the function cannot be imported or called, or does not return an update rule.
        """
        where = f"controller.{loop.field}.import_path"
        rule = plugins.call(self.import_path, self.kwargs, where)
        if not isinstance(rule, UpdateRule):
            given = f"it returns {type(rule).__name__}, not UpdateRule(init, update)"
            raise ConfigError(f"{where} is {self.import_path!r}, which is no update rule: {given}")
        try:
            check_finite("", {"state": dict(rule.init(1.0))}, "a mapping of finite numbers")
        except Exception as error:
            raise ConfigError(f"{where} is {self.import_path!r}: its init(value) fails: {error}") from error
        return {"step": UpdateRule(rule.init, self._checked(rule))}

    def _checked(self, rule: UpdateRule) -> Callable[[Signal, RuleState], tuple[Signal, RuleState]]:
        """The rule's update, with a check of what user code returns."""

        def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
            result: object = rule.update(signal, state)
            match result:
                case (Signal() as proposed, Mapping() as following):
                    return proposed, following
            raise InvalidReportError(f"{self.import_path}: update returned {result!r}, must be (Signal, state)")

        return update

    def why_at_rest(self, loop: Loop, in_dead_band: bool) -> str:
        """Explain a coefficient that has a signal and does not move."""
        return f"the steps of {self.import_path} are too small"


RuleSettings: TypeAlias = (
    PI | SGD | Adam | Newton | AdaptiveKL | ThresholdKL | EntropyStep | SacAlpha | CustomRule
)
"""All update rules that settings can name; a new one is a class above and its name here."""


def build_rule(settings: RuleSettings, loop: Loop) -> UpdateRule:
    """Chain a rule's parts inside the coefficient's bounds, with anti-windup.

    Raises:
        ConfigError: user code cannot be imported, or is no rule.

    Example:
        >>> loop = Loop("tau", "weight_entropy", low=1e-3, high=100.0)
        >>> build_rule(PI(clip=None), loop).init(0.3)
        {'step': {'previous_gradient': 0.0, 'started': 0.0}}
    """
    return anti_windup(chain(**settings.parts(loop), project=project(loop.low, loop.high)))


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value < math.inf


def _require(holds: bool, loop: Loop, name: str, value: object, valid: str) -> None:
    if not holds:
        raise ConfigError(f"{loop.field}.{name} is {value}; it must be {valid}")
