"""PI control of a signal that rises from 0 when training starts, with a gain that follows from how fast it rose."""

from __future__ import annotations

from maxent_ray.core.update_rules.base import RuleState, Signal, UpdateRule
from maxent_ray.core.update_rules.loop import Gains
from maxent_ray.core.update_rules.steps import Space, change_of, moved

BEGINS, RISEN = 0.45, 0.37
"""Errors, relative to the target, from which on a start is a rise, and at which the signal has risen: e⁻¹."""
USUAL_RISE = 16
"""Training steps of a rise for which a slow response's proportional gain is right."""
LEAST = 0.5
"""Smallest share of that gain: a rise that short is mostly the noise of its end."""


def rising_pi(gains: Gains, space: Space = "log") -> UpdateRule:
    """PI control in velocity form whose proportional gain is less for a signal that rose fast.

    Against a frozen reference KL starts at 0. The steps R in which it comes within 37 % of its target are its time
    constant, and the proportional gain that a loop bears grows with that over its dead time, which is the optimiser's
    momentum and the smoothing, whatever the target is:

        Δ = −(k_i·g + k_p·min(max(R/16, ½), 1)·(g − g_prev))

    R counts the steps so far while the signal rises. Another target scales it: the push of training, KL*/R, stays. A
    run that does not begin far below its target, or has a set point that moves there, takes the whole gain; so does
    every run where errors are cut below 45 %.

    Args:
        gains: k_i and k_p.
        space: "linear" or "log".

    Returns:
        A rule with the state `previous_gradient`, `started` (0 or 1), `rising` (steps so far; 0: not, or no more) and
        `push` (nats a step; 0: not known).

    Example:
        A KL that is there after 8 steps:

        >>> rule = rising_pi(Gains(integral=0.2, proportional=8.0))
        >>> state = rule.init(0.1)
        >>> for error in [0.5] * 8 + [0.3]:
        ...     signal, state = rule.update(Signal(gradient=error, value=0.1, target=0.2), state)
        >>> state["rising"], state["push"]
        (0.0, 0.025)

    Source: Skogestad 2003, "Simple analytic rules for model reduction and PID controller tuning", eq. 23 (gain in
    proportion to time constant over dead time).
    """

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        error, target, rising, push = signal.gradient, signal.target or 0.0, state["rising"], state["push"]
        if rising or (not state["started"] and error > BEGINS):
            rising += signal.count
            if error <= RISEN and target > 0:
                push, rising = target / (rising - signal.count), 0.0
        rise = rising or (target / push if push else USUAL_RISE)
        share = min(max(rise / USUAL_RISE, LEAST), 1.0)
        step = -(gains.integral * error + share * gains.proportional * change_of(signal, state))
        memory = {"previous_gradient": error, "started": 1.0, "rising": rising, "push": push}
        return moved(signal, step, space), memory

    return UpdateRule(lambda value: dict.fromkeys(("previous_gradient", "started", "rising", "push"), 0.0), update)
