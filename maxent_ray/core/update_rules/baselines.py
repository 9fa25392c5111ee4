"""Rules of other systems, to compare with: they read `measured` against `target` instead of the gradient.

Each was made for one coefficient: `adaptive_kl` and `threshold_kl` for a KL coefficient, which rises when KL is above
its target, `entropy_step` and `sac_alpha` for the weight of an entropy bonus, which rises when the entropy is below its
target. With `raises` they serve the other one too: does the coefficient raise what is measured (τ the entropy) or lower
it (β the KL)?
"""

from __future__ import annotations

import math
from dataclasses import replace

from maxent_ray.core.update_rules.base import (
    RuleState,
    Signal,
    UpdateRule,
    require,
    require_number,
    require_positive,
    require_signal,
    stateless,
)
from maxent_ray.core.update_rules.steps import adam
from maxent_ray.core.update_rules.transforms import project


def adaptive_kl(horizon: float, *, error_clip: float = 0.2, raises: bool = False) -> UpdateRule:
    """Proportional control of log β: β ← β·(1 + clip(KL/KL* − 1, −error_clip, error_clip)·n/horizon).

    n is `Signal.count`. β = 0 stays 0. The event "clipped" says that the relative error was cut.

    Args:
        horizon: > 0, in the units of n (training steps or samples).
        error_clip: > 0, greatest relative error that counts.
        raises: the coefficient raises what is measured: the error's sign is turned.

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
    sign = -1 if raises else 1

    def update(signal: Signal) -> Signal:
        measured, target = _tracked("adaptive_kl", signal, positive_target=True)
        longest = horizon / error_clip
        require_signal(1 <= signal.count < longest, "adaptive_kl: count", signal.count, f"in [1, {longest!r})")
        error = sign * (measured / target - 1)
        if abs(error) > error_clip:
            signal, error = signal.with_event("clipped"), math.copysign(error_clip, error)
        return replace(signal, value=signal.value * (1 + error * signal.count / horizon))

    return stateless(update)


def threshold_kl(
    *, high: float = 2.0, low: float = 0.5, up: float = 1.5, down: float = 0.5, raises: bool = False
) -> UpdateRule:
    """Multiply β by `up` when KL > high·KL*, by `down` when KL < low·KL*, else leave it.

    It has no bound of its own: end the chain with `project`. The defaults are RLlib's PPO; torchrl's
    KLPENPPOLoss is `threshold_kl(high=1.5, low=1/1.5, up=2.0, down=0.5)`.

    Args:
        high: upper threshold, as a multiple of the target, > 0.
        low: lower threshold, as a multiple of the target, in [0, high].
        up: factor above the upper threshold, > 1.
        down: factor below the lower threshold, in (0, 1).
        raises: the coefficient raises what is measured: `up` when H* > high·H, `down` when H* < low·H.

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

    def update(signal: Signal) -> Signal:
        measured, target = _tracked("threshold_kl", signal, positive_target=True)
        larger, smaller = (target, measured) if raises else (measured, target)
        factor = up if larger > high * smaller else down if larger < low * smaller else 1.0
        return replace(signal, value=signal.value * factor)

    return stateless(update)


def entropy_step(delta: float, *, low: float = 0.0, high: float = 1.0, raises: bool = True) -> UpdateRule:
    """A fixed step: c ← clip(c + delta, low, high) when H <= H*, clip(c − delta, low, high) otherwise.

    c weighs an entropy bonus. Those who use the rule add the bonus only while H <= H*; that is the loss's
    affair, not this rule's. Events as in `project`.

    Args:
        delta: > 0, in units of c.
        low: least c.
        high: greatest c, >= low.
        raises: the coefficient raises what is measured; False: it rises when KL >= KL*.

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
        needed = measured <= target if raises else measured >= target
        return box.update(replace(signal, value=signal.value + (delta if needed else -delta)), state)

    return UpdateRule(box.init, update)


def sac_alpha(
    learning_rate: float, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, raises: bool = True
) -> UpdateRule:
    """Adam on log α for the loss J(log α) = −log α·E[log π + H*].

    As E[log π] = −H, dJ/d log α = H − H*. That difference takes the place of the signal's gradient, and Adam
    moves log α against it; the target may be negative (a differential entropy).

    Args:
        learning_rate: > 0, in units of log α a step.
        betas: decays of Adam's two moments, each in [0, 1).
        eps: > 0, nats.
        raises: the coefficient raises what is measured; False: the difference is KL* − KL.

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
        return optimiser.update(replace(signal, gradient=(measured - target) * (1 if raises else -1)), state)

    return UpdateRule(optimiser.init, update)


def _tracked(rule: str, signal: Signal, *, positive_target: bool = False) -> tuple[float, float]:
    """The measurement and its target; both must be there and finite."""
    measured = require_number(f"{rule}: measured", signal.measured)
    target = require_number(f"{rule}: target", signal.target)
    require_signal(not positive_target or target > 0, f"{rule}: target", target, "positive (nats)")
    return measured, target
