"""The rules that other systems use, to compare with: the same pairs, reading `measured` against `target`.

`adaptive_kl` and `threshold_kl` move a KL coefficient β: it rises when KL is above its target. `entropy_step`
and `sac_alpha` move the weight of an entropy bonus: it rises when the entropy is below its target. None
uses the signal's gradient, which must be finite all the same.
"""

from __future__ import annotations

import math
from dataclasses import replace

from maxent_ray.core.update_rules.base import (
    RuleState,
    Signal,
    UpdateRule,
    admit,
    admit_finite,
    guarded,
    require,
    require_positive,
)
from maxent_ray.core.update_rules.steps import adam
from maxent_ray.core.update_rules.transforms import project


def adaptive_kl(horizon: float, *, error_clip: float = 0.2) -> UpdateRule:
    """Proportional control of log β: β ← β·(1 + clip(KL/KL* − 1, −error_clip, error_clip)·n/horizon).

    n is `Signal.count`. β = 0 stays 0. The event "clipped" says that the relative error was cut.

    Args:
        horizon: > 0, in the units of n (training steps or samples).
        error_clip: > 0, greatest relative error that counts.

    Returns:
        A rule without state. Its `update` raises InvalidReportError (a ValueError) without `measured`,
        without a positive `target`, for n < 1, and for n >= horizon/error_clip, where β could change its
        sign.

    Raises:
        ConfigError: horizon or error_clip is not a positive finite number.

    Example:
        >>> rule = adaptive_kl(100)
        >>> signal = Signal(gradient=0.0, value=0.2, measured=0.2, target=0.1, count=10)
        >>> round(rule.update(signal, rule.init(0.2))[0].value, 12)
        0.204

    Source: Ziegler et al. 2019, "Fine-tuning language models from human preferences", section 2.2, with
    n/horizon for its gain.
    """
    require_positive(horizon=horizon, error_clip=error_clip)

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        measured, target = _tracked("adaptive_kl", signal, positive_target=True)
        longest = horizon / error_clip
        admit(1 <= signal.count < longest, "adaptive_kl: count", signal.count, f"in [1, {longest!r})")
        error = measured / target - 1
        if abs(error) > error_clip:
            signal, error = signal.noting("clipped"), math.copysign(error_clip, error)
        return replace(signal, value=signal.value * (1 + error * signal.count / horizon)), state

    return guarded("adaptive_kl", update)


def threshold_kl(*, high: float = 2.0, low: float = 0.5, up: float = 1.5, down: float = 0.5) -> UpdateRule:
    """Multiply β by `up` when KL > high·KL*, by `down` when KL < low·KL*, else leave it.

    It has no bound of its own: end the chain with `project`. The defaults are RLlib's PPO; torchrl's
    KLPENPPOLoss is `threshold_kl(high=1.5, low=1/1.5, up=2.0, down=0.5)`.

    Args:
        high: upper threshold, as a multiple of the target, > 0.
        low: lower threshold, as a multiple of the target, in [0, high].
        up: factor above the upper threshold, > 1.
        down: factor below the lower threshold, in (0, 1).

    Returns:
        A rule without state. Its `update` raises InvalidReportError (a ValueError) without `measured` or
        without a positive `target`.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> rule = threshold_kl()
        >>> signal = Signal(gradient=0.0, value=0.2, measured=0.05, target=0.02)
        >>> round(rule.update(signal, rule.init(0.2))[0].value, 12)
        0.3

    Source: Schulman et al. 2017, "Proximal policy optimization algorithms", section 4, with RLlib's factors.
    """
    require_positive(high=high)
    require(0 <= low <= high, "low", low, f"in [0, high], and high is {high!r}")
    require(1 < up < math.inf, "up", up, "a finite number > 1")
    require(0 < down < 1, "down", down, "in (0, 1)")

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        measured, target = _tracked("threshold_kl", signal, positive_target=True)
        factor = up if measured > high * target else down if measured < low * target else 1.0
        return replace(signal, value=signal.value * factor), state

    return guarded("threshold_kl", update)


def entropy_step(delta: float, *, low: float = 0.0, high: float = 1.0) -> UpdateRule:
    """A fixed step: c ← clip(c + delta, low, high) when H <= H*, clip(c − delta, low, high) otherwise.

    c weighs an entropy bonus. Those who use the rule add the bonus only while H <= H*; that is the loss's
    affair, not this rule's. Events as in `project`.

    Args:
        delta: > 0, in units of c.
        low: least c.
        high: greatest c, >= low.

    Returns:
        A rule without state. Its `update` raises InvalidReportError (a ValueError) without `measured` or
        `target`.

    Raises:
        ConfigError: an argument is out of range, or the bounds cross.

    Example:
        >>> rule = entropy_step(0.005)
        >>> rule.update(Signal(gradient=0.0, value=0.01, measured=0.1, target=0.2), {})[0].value
        0.015

    Source: He et al. 2025, "Skywork open reasoner 1", adaptive entropy control; TRL's GRPO.
    """
    require_positive(delta=delta)
    box = project(low, high)

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        measured, target = _tracked("entropy_step", signal)
        value = signal.value + (delta if measured <= target else -delta)
        return box.update(replace(signal, value=value), state)

    return guarded("entropy_step", update)


def sac_alpha(
    learning_rate: float, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> UpdateRule:
    """Adam on log α for the loss J(log α) = −log α·E[log π + H*].

    As E[log π] = −H, dJ/d log α = H − H*. That difference takes the place of the signal's gradient, and Adam
    moves log α against it; the target may be negative (a differential entropy).

    Args:
        learning_rate: > 0, in units of log α a step.
        betas: decays of Adam's two moments, each in [0, 1).
        eps: > 0, nats.

    Returns:
        A rule with Adam's state. Its `update` raises InvalidReportError (a ValueError) without `measured` or
        `target`.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> rule = sac_alpha(math.log(2))
        >>> signal = Signal(gradient=0.0, value=0.1, measured=0.5, target=0.8)
        >>> round(rule.update(signal, rule.init(0.1))[0].value, 6)
        0.2

    Source: Haarnoja et al. 2018, "Soft actor-critic algorithms and applications", eq. 18, on log α as its
    code does.
    """
    optimiser = adam(learning_rate, betas=betas, eps=eps, space="log")

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        measured, target = _tracked("sac_alpha", signal)
        return optimiser.update(replace(signal, gradient=measured - target), state)

    return guarded("sac_alpha", update, **optimiser.init(1.0))


def _tracked(rule: str, signal: Signal, *, positive_target: bool = False) -> tuple[float, float]:
    """What is measured and what it should be; both must be there and finite."""
    measured = admit_finite(f"{rule}: measured", signal.measured)
    target = admit_finite(f"{rule}: target", signal.target)
    admit(not positive_target or target > 0, f"{rule}: target", target, "positive (nats)")
    return measured, target
