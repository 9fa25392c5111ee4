"""Rules around a step: `clip`, `ema`, `deadband` shape the gradient, `scale_by_confidence` and `project` the step."""

from __future__ import annotations

import math
from dataclasses import replace

from maxent_ray.core.update_rules.base import (
    RuleState,
    Signal,
    UpdateRule,
    require,
    require_fraction,
    require_number,
    require_positive,
    stateless,
)
from maxent_ray.core.update_rules.steps import Space


def clip(limit: float) -> UpdateRule:
    """Bound the gradient: g ← min(max(g, −limit), limit), with the event "clipped" when that changed it.

    Args:
        limit: in the units of the gradient, > 0.

    Returns:
        A rule without state.

    Raises:
        ConfigError: limit is not a positive finite number.

    Example:
        >>> rule = clip(0.2)
        >>> signal, _ = rule.update(Signal(gradient=-3.0, value=0.1), {})
        >>> signal.gradient, signal.events
        (-0.2, ('clipped',))
    """
    require_positive(limit=limit)

    def update(signal: Signal) -> Signal:
        if abs(signal.gradient) <= limit:
            return signal
        return replace(signal, gradient=math.copysign(limit, signal.gradient)).with_event("clipped")

    return stateless(update)


def ema(decay: float) -> UpdateRule:
    """Smooth the gradient: m ← decay·m + (1 − decay)·g, passed on as m / (1 − decayᵗ).

    The division takes out the pull of m₀ = 0 after t updates: a constant gradient passes unchanged from the
    start. Where the target has changed, t begins anew.

    Args:
        decay: in [0, 1); 0 passes every gradient through.

    Returns:
        A rule with the state `mean` (m) and `updates` (t).

    Raises:
        ConfigError: decay is outside [0, 1).

    Example:
        >>> rule = ema(0.5)
        >>> signal, state = rule.update(Signal(gradient=4.0, value=0.1), rule.init(0.1))
        >>> signal.gradient, state
        (4.0, {'mean': 2.0, 'updates': 1.0})
        >>> rule.update(Signal(gradient=1.0, value=0.1), state)[0].gradient  # (1 + .5·1) / (1 − .25)
        2.0

    Source: Kingma and Ba 2015, "Adam", section 3 (bias correction).
    """
    require_fraction(decay=decay)

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        known = {"mean": 0.0, "updates": 0.0} if signal.target_changed else state
        updates = known["updates"] + 1
        mean = decay * known["mean"] + (1 - decay) * signal.gradient
        return replace(signal, gradient=mean / (1 - decay**updates)), {"mean": mean, "updates": updates}

    return UpdateRule(lambda value: {"mean": 0.0, "updates": 0.0}, update)


def scale_by_confidence(rule: UpdateRule, space: Space) -> UpdateRule:
    """Take the share `Signal.confidence` of a rule's step, of ln v in log space.

    The rule sees the error alone. If it saw the error times the confidence, a change of the confidence would look like
    one of the error, and a proportional part would answer it.

    Args:
        rule: moves the value.
        space: "linear" or "log".

    Returns:
        A rule with the state of ``rule``.

    Example:
        >>> from maxent_ray.core.update_rules import sgd
        >>> rule = scale_by_confidence(sgd(0.1), "linear")
        >>> rule.update(Signal(gradient=-1.0, value=0.5, confidence=0.5), rule.init(0.5))[0].value
        0.55
    """

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        proposed, following = rule.update(signal, state)
        if signal.confidence == 1:
            return proposed, following
        old, new, share = signal.value, proposed.value, signal.confidence
        value = old + share * (new - old) if space == "linear" else old * (new / old) ** share
        return replace(proposed, value=value), following

    return UpdateRule(rule.init, update)


def deadband(width: float, rule: UpdateRule | None = None) -> UpdateRule:
    """Ignore small errors: inside |g| <= width, g ← 0 with the event "dead_band", and ``rule`` is not run.

    The width is in the units of the gradient that reaches this rule: relative errors in the controller's chains, nats
    where the analytic objective's signal is passed as it is. The band's edge belongs to it. A step rule that remembers
    (momentum, Adam, the proportional term of a PI controller) may still move the value on a gradient of 0: wrap it, and
    inside the band neither the value nor the rule's state changes.

    Args:
        width: half the band, >= 0.
        rule: applied outside the band; None passes the signal on.

    Returns:
        A rule with the state of ``rule``.

    Raises:
        ConfigError: width is negative or not finite.

    Example:
        >>> from maxent_ray.core.update_rules import sgd
        >>> rule = deadband(0.01, sgd(1.0, momentum=0.9))
        >>> signal, state = rule.update(Signal(gradient=-0.004, value=0.1), {"velocity": 0.5})
        >>> signal.value, signal.events, state
        (0.1, ('dead_band',), {'velocity': 0.5})
    """
    require(0 <= width < math.inf, "width", width, "a finite number >= 0")
    outside = stateless(lambda signal: signal) if rule is None else rule

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        if abs(signal.gradient) > width:
            return outside.update(signal, state)
        return replace(signal, gradient=0.0).with_event("dead_band"), state

    return UpdateRule(outside.init, update)


def project(low: float, high: float) -> UpdateRule:
    """Keep the value in [low, high], with the event "projected_low" or "projected_high" when that changed it.

    Put it last in a chain. A log-space step in the same chain needs low > 0: it rejects a value of 0.

    Args:
        low: least value, in units of the coefficient.
        high: greatest value, >= low; low == high holds the coefficient fixed.

    Returns:
        A rule without state.

    Raises:
        ConfigError: a bound is not finite, or they cross.

    Example:
        >>> rule = project(0.01, 1.0)
        >>> signal, _ = rule.update(Signal(gradient=0.0, value=3.0), {})
        >>> signal.value, signal.events
        (1.0, ('projected_high',))
    """
    require(math.isfinite(low), "low", low, "a finite number")
    require(math.isfinite(high), "high", high, "a finite number")
    require(low <= high, "low", low, f"at most high, which is {high!r}")

    def update(signal: Signal) -> Signal:
        require_number("next value", signal.value)  # an infinite one would be a bound otherwise
        if signal.value < low:
            return replace(signal, value=low).with_event("projected_low")
        if signal.value > high:
            return replace(signal, value=high).with_event("projected_high")
        return signal

    return stateless(update)
