"""Anti-windup: freeze a rule's state while its coefficient is saturated."""

from __future__ import annotations

from maxent_ray.core.update_rules.base import RuleState, Signal, UpdateRule

OUTWARD = {"projected_low": 1.0, "projected_high": -1.0}
"""Event of `project` → sign of the error that pushes further out (the coefficient falls when it is positive, unless
the confidence in it is below 0)."""


def anti_windup(rule: UpdateRule) -> UpdateRule:
    """Freeze a rule's averages and moments while its coefficient is at a bound and is pushed outwards.

    An error that no step can reduce says nothing about the next one: summed up over a thousand steps at a bound it
    would hold the coefficient there long after the error changed its sign. The state is that of the step which reached
    the bound, so later steps do not depend on the time spent there. An error of the other sign is taken into the state
    at once, also while earlier averages still push outwards.

    Args:
        rule: a chain that ends with `project`.

    Returns:
        The same rule but for its state at the bounds.

    Example:
        >>> from maxent_ray.core.update_rules import chain, ema, project, sgd
        >>> rule = anti_windup(chain(smooth=ema(0.9), step=sgd(1.0), box=project(0.0, 1.0)))
        >>> _, reached = rule.update(Signal(gradient=-1.0, value=0.5), rule.init(0.5))
        >>> rule.update(Signal(gradient=-1.0, value=1.0), reached)[1] == reached
        True

    Source: Åström and Rundqwist 1989, "Integrator windup and how to avoid it" (conditional integration).
    """

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        proposed, following = rule.update(signal, state)
        pushed = signal.gradient * signal.confidence
        held = any(OUTWARD.get(event, 0.0) * pushed > 0 for event in proposed.events)
        return proposed, state if held and proposed.value == signal.value else following

    return UpdateRule(rule.init, update)
