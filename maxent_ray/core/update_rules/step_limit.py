"""Limit of a coefficient's step, with back-calculation: what is withheld is owed, and paid by later steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from maxent_ray.core.update_rules.base import RuleState, Signal, UpdateRule, has_keys_of, require


def limit_step(rule: UpdateRule, factor: float, low: float, high: float, *, owes: bool = True) -> UpdateRule:
    """Let a rule in log space move its coefficient v by at most a factor at a time, with the event "step_limited".

    A rule in velocity form answers a change of the error once, in the step after it: a step that is merely cut loses
    the proportional action for good. So the remainder is kept,

        s = ln(v'/v) + o,   v ← v·exp(min(max(s, −ln f), ln f)),   o ← s − what was moved,

    and v follows the coefficient that the rule asks for, v·exp(o), as fast as f allows. Anti-windup: that coefficient
    is kept in [low, high] too, so that nothing is owed beyond a bound.

    Args:
        rule: Moves a positive value.
        factor: f > 1.
        low: Lower bound of v, > 0.
        high: Upper bound.
        owes: False for a rule that asks each time for the whole way from where the coefficient is, as Newton's does:
            what is withheld is in its next step already.

    Returns:
        A rule with the state of ``rule`` and ``owed`` (o). Bounds are those of what is owed; ``project`` keeps v in
        them.

    Raises:
        ConfigError: factor is not above 1.

    Example:
        >>> from maxent_ray.core.update_rules import sgd
        >>> rule = limit_step(sgd(1.0, space="log"), factor=2.0, low=1e-3, high=10.0)
        >>> signal, state = rule.update(Signal(gradient=-math.log(8), value=0.1), rule.init(0.1))
        >>> round(signal.value, 12), signal.events, round(math.exp(state["owed"]), 12)
        (0.2, ('step_limited',), 4.0)

    Source: Åström and Rundqwist 1989, "Integrator windup and how to avoid it" (back-calculation), with all of the
    difference fed back.
    """
    require(1 < factor < math.inf, "factor", factor, "a finite number > 1; 3 is usual")
    most = math.log(factor)

    def init(value: float) -> RuleState:
        return {**rule.init(value), "owed": 0.0}

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        proposed, following = rule.update(signal, state)
        wanted = math.log(proposed.value) - math.log(signal.value) + state["owed"]
        if state["owed"] == 0 and abs(wanted) <= most:
            return proposed, {**following, "owed": 0.0}
        step = min(max(wanted, -most), most)
        value = signal.value * math.exp(step)
        inside = min(max(value, low), high)
        owed = min(max(wanted - step, math.log(low / inside)), math.log(high / inside)) if owes else 0.0
        moved = replace(proposed, value=value)
        return moved if step == wanted else moved.with_event("step_limited"), {**following, "owed": owed}

    return UpdateRule(init, update)


def carry_over(known: RuleState, fresh: RuleState) -> RuleState:
    """Memory of a rule under other settings: kept where the rule has the same parts, else ``fresh``.

    A limit of the step may come or go: without one before, nothing is owed.

    Example:
        >>> carry_over({"step": {"velocity": 0.2}}, {"step": {"velocity": 0.0, "owed": 0.0}})
        {'step': {'velocity': 0.2, 'owed': 0.0}}
        >>> carry_over({"step": {"velocity": 0.2}}, {"step": {"previous_gradient": 0.0}})
        {'step': {'previous_gradient': 0.0}}
    """
    return _filled(known, fresh) if has_keys_of(_without_owed(known), _without_owed(fresh)) else fresh


def _filled(known: Any, fresh: Any) -> Any:
    if not isinstance(fresh, Mapping):
        return known
    return {name: _filled(known[name], entry) if name in known else entry for name, entry in fresh.items()}


def _without_owed(state: Any) -> Any:
    if not isinstance(state, Mapping):
        return state
    return {name: _without_owed(entry) for name, entry in state.items() if name != "owed"}
