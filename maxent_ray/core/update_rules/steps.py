"""Rules that move the coefficient, in linear or log space: `sgd`, `adam`, `newton`, `proportional_integral`.

A step Δ moves the coefficient v linearly, v ← v + Δ, or multiplicatively, v ← v·exp(Δ). In log space the
error acts on log v as it is, without the factor v that the chain rule would put before it (exponentiated
gradient): the error is a signal to be driven to zero, and a relative step as large as the error is what keeps
τ = .01 and τ = 1 equally fast. A log-space step keeps a positive coefficient positive.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from maxent_ray.core.update_rules.base import (
    RuleState,
    Signal,
    UpdateRule,
    require,
    require_fraction,
    require_number,
    require_positive,
    require_signal,
    stateless,
)

Space: TypeAlias = Literal["linear", "log"]

LOG_STEP_LIMIT = 50.0
"""One log-space step multiplies by at most e^50 = 5e21, so exp cannot overflow; a longer one is "clipped"."""


def sgd(learning_rate: float, *, space: Space = "linear", momentum: float = 0.0) -> UpdateRule:
    """Gradient descent with momentum: u ← momentum·u + g, Δ = −learning_rate·u.

    In log space Δ moves log v directly (see the module).

    Args:
        learning_rate: > 0, in units of v (linear) or log v (log) per unit of error.
        space: "linear" or "log".
        momentum: in [0, 1), without dampening.

    Returns:
        A rule with the state `velocity` (u).

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> rule = sgd(0.1)
        >>> rule.update(Signal(gradient=0.5, value=1.0), rule.init(1.0))[0].value
        0.95
        >>> rule = sgd(math.log(2), space="log")
        >>> round(rule.update(Signal(gradient=-1.0, value=0.1), rule.init(0.1))[0].value, 12)
        0.2

    Source: Sutskever et al. 2013, section 2 (momentum, in torch.optim.SGD's form); Kivinen and Warmuth 1997
    (exponentiated gradient).
    """
    require_positive(learning_rate=learning_rate)
    require_fraction(momentum=momentum)
    _require_space(space)

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        velocity = momentum * state["velocity"] + signal.gradient
        return moved(signal, -learning_rate * velocity, space), {"velocity": velocity}

    return UpdateRule(lambda value: {"velocity": 0.0}, update)


def adam(
    learning_rate: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    space: Space = "linear",
) -> UpdateRule:
    """Adam: Δ = −learning_rate·m̂ / (√v̂ + eps), with m̂ and v̂ the bias-corrected moments of the gradient.

    It forgets the size of the error: a steady error of any size moves v by learning_rate a step.

    Args:
        learning_rate: > 0, in units of v (linear) or log v (log) a step.
        betas: decays of the two moments, each in [0, 1).
        eps: > 0, in the units of the gradient.
        space: "linear" or "log".

    Returns:
        A rule with the state `first_moment`, `second_moment`, `updates`.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> rule = adam(0.1)
        >>> round(rule.update(Signal(gradient=7.0, value=1.0), rule.init(1.0))[0].value, 6)
        0.9

    Source: Kingma and Ba 2015, "Adam", algorithm 1.
    """
    require_positive(learning_rate=learning_rate, eps=eps)
    first_decay, second_decay = betas
    require_fraction(**{"betas[0]": first_decay, "betas[1]": second_decay})
    _require_space(space)

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        updates = state["updates"] + 1
        gradient = signal.gradient
        first = first_decay * state["first_moment"] + (1 - first_decay) * gradient
        second = second_decay * state["second_moment"] + (1 - second_decay) * gradient * gradient
        mean = first / (1 - first_decay**updates)
        magnitude = math.sqrt(second / (1 - second_decay**updates))
        following = {"first_moment": first, "second_moment": second, "updates": updates}
        return moved(signal, -learning_rate * mean / (magnitude + eps), space), following

    return UpdateRule(lambda value: {"first_moment": 0.0, "second_moment": 0.0, "updates": 0.0}, update)


def newton(
    damping: float, *, learning_rate: float = 1.0, max_step: float = 1.0, space: Space = "linear"
) -> UpdateRule:
    """Damped Newton on the error: Δ = −learning_rate·g / (c + damping), with |Δ| <= max_step.

    The event "clipped" says that max_step was exceeded. c is dg/dv (`Signal.curvature`) in linear space and dg/d log v
    = v·dg/dv in log space. The damping bounds the step on a flat batch, where c is 0.

    Args:
        damping: > 0, in the units of c.
        learning_rate: > 0; 1 is the full step.
        max_step: > 0, in units of v (linear) or log v (log).
        space: "linear" or "log".

    Returns:
        A rule without state. Its `update` raises InvalidReportError (a ValueError) when the signal has no
        finite curvature, or one so negative that c + damping <= 0 and the step would climb.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> rule = newton(0.5)
        >>> rule.update(Signal(gradient=0.6, value=1.0, curvature=2.5), rule.init(1.0))[0].value
        0.8

    Source: Nocedal and Wright 2006, "Numerical optimization", section 3.4 (Newton's method with a modified
    Hessian).
    """
    require_positive(damping=damping, learning_rate=learning_rate, max_step=max_step)
    _require_space(space)

    def update(signal: Signal) -> Signal:
        curvature = require_number("newton: curvature", signal.curvature)
        slope = (curvature if space == "linear" else signal.value * curvature) + damping
        require_signal(slope > 0, "newton: curvature", curvature, f"large enough that {slope!r} (with damping) is > 0")
        return moved(signal, -learning_rate * signal.gradient / slope, space, max_step)

    return stateless(update)


def proportional_integral(proportional: float, integral: float, *, space: Space = "log") -> UpdateRule:
    """PI control in velocity form: Δ = −(integral·g + proportional·(g − g_prev)).

    At the first update, and at one after which the target is another, g_prev = g: only what was measured moves the
    proportional term. The sum of the steps is −integral·Σg − proportional·(g − g₁): an integral
    and a proportional term whose only memory is the coefficient itself. So no sum winds up while `project`
    holds the value at a bound, and the first error of the other sign moves it away.

    Args:
        proportional: >= 0, per unit of change of the error; in units of v (linear) or log v (log).
        integral: > 0, per unit of error and step; in the same units.
        space: "linear" or "log".

    Returns:
        A rule with the state `previous_gradient` and `started` (0 or 1).

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> rule = proportional_integral(2.0, 0.5, space="linear")
        >>> signal, state = rule.update(Signal(gradient=0.4, value=1.0), rule.init(1.0))
        >>> signal.value  # 1 − .5·.4
        0.8
        >>> round(rule.update(Signal(gradient=0.3, value=0.8), state)[0].value, 12)  # .8 − (.5·.3 + 2·(−.1))
        0.85

    Source: Stooke, Achiam and Abbeel 2020, "Responsive safety in reinforcement learning by PID Lagrangian
    methods", algorithm 2, without its derivative term and in velocity form.
    """
    require(0 <= proportional < math.inf, "proportional", proportional, "a finite number >= 0")
    require_positive(integral=integral)
    _require_space(space)

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        gradient = signal.gradient
        step = -(integral * gradient + proportional * change_of(signal, state))
        return moved(signal, step, space), {"previous_gradient": gradient, "started": 1.0}

    return UpdateRule(lambda value: {"previous_gradient": 0.0, "started": 0.0}, update)


def _require_space(space: str) -> None:
    require(space in get_args(Space), "space", space, f"one of {', '.join(get_args(Space))}")


def change_of(signal: Signal, state: RuleState) -> float:
    """Change of the gradient since the last update; 0 at the first one, and where the target is another."""
    is_known = state["started"] and not signal.target_changed
    return float(signal.gradient - state["previous_gradient"]) if is_known else 0.0


def moved(signal: Signal, step: float, space: Space, max_step: float = math.inf) -> Signal:
    """The signal with its value moved by `step`, cut to ±max_step (and to ±LOG_STEP_LIMIT in log space)."""
    limit = max_step if space == "linear" else min(max_step, LOG_STEP_LIMIT)
    if abs(step) > limit:
        signal, step = signal.with_event("clipped"), math.copysign(limit, step)
    if space == "linear":
        return replace(signal, value=signal.value + step)
    require_signal(signal.value > 0, "value", signal.value, "positive for a step in log space")
    value = signal.value * math.exp(step)
    # Many cut steps can still leave the floats, and 0 would be a trap: no factor raises it again.
    require_signal(0 < value < math.inf, f"value after a step of {step!r} in log space", value, "bounded by `project`")
    return replace(signal, value=value)
