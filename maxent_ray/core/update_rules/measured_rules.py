"""Settings of the rules of other systems: ``adaptive_kl``, ``threshold_kl``, ``entropy_step``, ``sac_alpha``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from maxent_ray.core.update_rules.base import UpdateRule
from maxent_ray.core.update_rules.baselines import adaptive_kl, entropy_step, sac_alpha, threshold_kl
from maxent_ray.core.update_rules.loop import Loop, require_setting
from maxent_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MeasuredRule:
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
class AdaptiveKL(MeasuredRule):
    """Ziegler's rule, ``adaptive_kl``; counts training steps.

    Example:
        >>> from maxent_ray.core.update_rules import Signal
        >>> from maxent_ray.core.update_rules.settings import build_rule
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
        require_setting(self.horizon > longest, loop, "horizon", self.horizon, valid)

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return adaptive_kl(self.horizon, error_clip=self.error_clip, raises=loop.raises)


@dataclass(frozen=True, kw_only=True)
class ThresholdKL(MeasuredRule):
    """RLlib's rule, ``threshold_kl``.

    Example:
        >>> from maxent_ray.core.update_rules import Signal
        >>> from maxent_ray.core.update_rules.settings import build_rule
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
class EntropyStep(MeasuredRule):
    """The rule of TRL and Skywork, ``entropy_step``, inside the coefficient's bounds.

    Example:
        >>> from maxent_ray.core.update_rules import Signal
        >>> from maxent_ray.core.update_rules.settings import build_rule
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
class SacAlpha(MeasuredRule):
    """SAC's rule, ``sac_alpha``.

    Example:
        >>> from maxent_ray.core.update_rules import Signal
        >>> from maxent_ray.core.update_rules.settings import build_rule
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
        valid = f"another rule while {loop.coefficient}_min = {loop.low:g}"
        require_setting(loop.low > 0, loop, "type", self.type, valid)

    def step(self, loop: Loop) -> UpdateRule:
        """The rule that moves the coefficient."""
        return sac_alpha(self.learning_rate, raises=loop.raises)
