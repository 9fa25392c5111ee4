"""What a rule is: a pair of functions over a signal and a flat state, and how rules are chained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from maxent_ray.errors import ConfigError, InvalidReportError

RuleState: TypeAlias = Mapping[str, float]
"""A rule's memory: flat, finite floats only, so that JSON carries it unchanged."""


@dataclass(frozen=True)
class Signal:
    """What flows along a chain: the error gradient of one coefficient, and the value it proposes.

    `gradient` is a descent direction: the coefficient falls when it is positive. For τ that is `tau_grad`,
    for β it is `−beta_grad` (an ascent direction everywhere else in the package).

    Example:
        >>> Signal(gradient=0.5, value=0.1).noting("clipped").events
        ('clipped',)
    """

    gradient: float
    """Descent direction, in the units of the error (nats for the analytic objective)."""
    value: float
    """The coefficient; step rules replace it by their proposal."""
    curvature: float | None = None
    """d gradient / d coefficient, for `newton`."""
    measured: float | None = None
    """The tracked quantity, nats: read by the baselines."""
    target: float | None = None
    """What `measured` should be, nats."""
    count: int = 1
    """Training steps (or samples) since the last update: Ziegler's n."""
    events: tuple[str, ...] = ()
    """What happened on the way: "clipped", "dead_band", "projected_low", "projected_high"."""

    def noting(self, event: str) -> Signal:
        """The same signal with one more event."""
        return replace(self, events=(*self.events, event))


class UpdateRule(NamedTuple):
    """One link of a chain; both functions are pure.

    `init(value)` gives the state before the first update, `update(signal, state)` the signal that goes on and
    the next state.

    Example:
        >>> halve = UpdateRule(
        ...     init=lambda value: {},
        ...     update=lambda signal, state: (replace(signal, gradient=signal.gradient / 2), state))
        >>> halve.update(Signal(gradient=0.5, value=0.1), halve.init(0.1))[0].gradient
        0.25
    """

    init: Callable[[float], RuleState]
    update: Callable[[Signal, RuleState], tuple[Signal, RuleState]]


def chain(**rules: UpdateRule) -> UpdateRule:
    """Apply named rules one after the other, in keyword order.

    Each rule sees the signal that the one before it let through. The chain's state is flat, with keys
    "name.key", so it goes into a checkpoint as it is; chains nest.

    Args:
        **rules: the links; their names mark their part of the state.

    Returns:
        The pair for the whole chain. Its `update` raises ConfigError for a state that another chain made.

    Raises:
        ConfigError: no rule, or a name that is not an identifier.

    Example:
        >>> from maxent_ray.core.update_rules import project, sgd
        >>> rule = chain(step=sgd(0.1), box=project(0.0, 1.0))
        >>> rule.init(0.02)
        {'step.velocity': 0.0}
        >>> signal, state = rule.update(Signal(gradient=0.5, value=0.02), rule.init(0.02))
        >>> signal.value, signal.events, state
        (0.0, ('projected_low',), {'step.velocity': 0.5})
    """
    require(bool(rules), "rules", rules, "at least one named rule")
    for name in rules:
        require(name.isidentifier(), "rule name", name, "an identifier (its state's keys are 'name.key')")

    def init(value: float) -> RuleState:
        return {
            f"{name}.{key}": entry for name, rule in rules.items() for key, entry in rule.init(value).items()
        }

    expected = init(1.0).keys()  # which keys a rule has depends on its settings, never on the value

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        require(state.keys() == expected, "the chain's state", sorted(state), f"{sorted(expected)}")
        following: dict[str, float] = {}
        for name, rule in rules.items():
            own = {key.removeprefix(f"{name}."): state[key] for key in state if key.startswith(f"{name}.")}
            signal, own_following = rule.update(signal, own)
            following |= {f"{name}.{key}": entry for key, entry in own_following.items()}
        return signal, following

    return UpdateRule(init, update)


def guarded(
    rule: str, update: Callable[[Signal, RuleState], tuple[Signal, RuleState]], **initial: float
) -> UpdateRule:
    """A rule whose state starts as `initial` and that no non-finite number can enter or leave.

    Args:
        rule: its name, for messages.
        update: the rule's own update.
        **initial: the state before the first update.

    Returns:
        The pair; its `update` raises InvalidReportError (a ValueError) and so leaves the caller's state as it
        was.

    Example:
        >>> same = guarded("same", lambda signal, state: (signal, state))
        >>> same.update(Signal(gradient=float("nan"), value=0.1), {})
        Traceback (most recent call last):
        ...
        maxent_ray.errors.InvalidReportError: same: gradient is nan, must be a finite number
    """

    def checked(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        admit_finite(f"{rule}: gradient", signal.gradient)
        admit_finite(f"{rule}: value", signal.value)
        proposed, following = update(signal, state)
        outcome = {"next gradient": proposed.gradient, "next value": proposed.value, **following}
        for name, number in outcome.items():
            admit_finite(f"{rule}: {name}", number, f"finite after gradient {signal.gradient!r}")
        return proposed, following

    return UpdateRule(lambda value: dict(initial), checked)


def require(condition: bool, name: str, value: object, valid: str) -> None:
    """Reject a setting: raise ConfigError with its name, its value and what would be valid."""
    if not condition:
        raise ConfigError(f"{name} is {value!r}, must be {valid}")


def admit(condition: bool, name: str, value: object, valid: str) -> None:
    """Reject a signal: raise InvalidReportError with the field, its value and what would be valid."""
    if not condition:
        raise InvalidReportError(f"{name} is {value!r}, must be {valid}")


def admit_finite(name: str, value: float | None, valid: str = "a finite number") -> float:
    """A number that the signal must carry, or InvalidReportError."""
    if value is None or not math.isfinite(value):
        raise InvalidReportError(f"{name} is {value!r}, must be {valid}")
    return value


def require_positive(**settings: float) -> None:
    """Each of the settings must be a positive finite number."""
    for name, value in settings.items():
        require(0 < value < math.inf, name, value, "a positive finite number")


def require_fraction(**settings: float) -> None:
    """Each of the settings must lie in [0, 1)."""
    for name, value in settings.items():
        require(0 <= value < 1, name, value, "in [0, 1)")
