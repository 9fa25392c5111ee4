"""Update rules: pairs of functions over a signal and a state, chained by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from maxent_ray.core.numbers import exact_number
from maxent_ray.errors import ConfigError, InvalidReportError

RuleState: TypeAlias = Mapping[str, Any]
"""State of a rule: finite floats by name; of a chain: the states of its rules by name. JSON carries it unchanged."""


class Tuning(NamedTuple):
    """Gains that a rule found by itself, and the response that it found them for.

    Example:
        >>> Tuning(0.4, 0.0, elasticity=0.5, elasticity_error=0.1, delay=0.0, share=0.2).integral
        0.4
    """

    integral: float
    """Step of ln of the coefficient per unit of error."""
    proportional: float
    """Step per unit of change of the error."""
    elasticity: float
    """Change of the error per unit of ln of the coefficient."""
    elasticity_error: float
    """Standard deviation of that estimate."""
    delay: float
    """Mean updates between a move of the coefficient and its effect, beyond the next batch."""
    share: float
    """Share of an unexpected change that stays; the rest is noise."""


@dataclass(frozen=True)
class Signal:
    """The error gradient of one coefficient and the value proposed for it, passed along a chain.

    `gradient` is a descent direction: the coefficient falls when it is positive. For τ that is `tau_grad`,
    for β it is `−beta_grad` (an ascent direction everywhere else in the package).

    Example:
        >>> Signal(gradient=0.5, value=0.1).with_event("clipped").events
        ('clipped',)
    """

    gradient: float
    """Descent direction, in the units of the error (relative to the target for the analytic objective)."""
    value: float
    """The coefficient; step rules replace it by their proposal."""
    curvature: float | None = None
    """d gradient / d coefficient, for `newton`."""
    measured: float | None = None
    """The tracked quantity, nats: read by the rules of other systems."""
    target: float | None = None
    """Set point of `measured`, nats."""
    error: float | None = None
    """Error for the identification of the response: ln(KL*/KL), or (H − H*) over its scale. It rises with the
    coefficient, and is not cut. None: the gradient."""
    confidence: float = 1.0
    """Share of the step that is taken, −1 to 1: how sure its usual direction is; below 0 the step is reversed."""
    target_changed: bool = False
    """The target is another one than at the last update: the change of the error since then says nothing."""
    count: int = 1
    """Training steps (or samples) since the last update: Ziegler's n."""
    tuning: Tuning | None = None
    """Set by rules that find their gains by themselves."""
    events: tuple[str, ...] = ()
    """Notes of the rules: "clipped", "dead_band", "step_limited", "projected_low", "projected_high"."""

    def with_event(self, event: str) -> Signal:
        """The same signal with one more event."""
        return replace(self, events=(*self.events, event))


class UpdateRule(NamedTuple):
    """One link of a chain; both functions are pure.

    `init(value)` gives the state before the first update, `update(signal, state)` the signal that is passed on and
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


def stateless(update: Callable[[Signal], Signal]) -> UpdateRule:
    """Build a rule without state.

    Example:
        >>> rule = stateless(lambda signal: replace(signal, value=1.0))
        >>> rule.update(Signal(gradient=0.5, value=0.1), rule.init(0.1))[0].value
        1.0
    """
    return UpdateRule(lambda value: {}, lambda signal, state: (update(signal), state))


def chain(**rules: UpdateRule) -> UpdateRule:
    """Apply named rules one after the other, in keyword order.

    Each rule sees the signal that the rule before it passed on. The chain's state maps the name of each rule that has
    one to its state; chains nest. Numbers are checked once a chain: none that is not finite enters or leaves it.

    Args:
        **rules: the links.

    Returns:
        The pair for the whole chain. Its `update` raises ConfigError for a state that another chain made, and
        InvalidReportError (a ValueError) for a number that is not finite; the caller's state is as it was.

    Raises:
        ConfigError: no rule.

    Example:
        >>> from maxent_ray.core.update_rules import project, sgd
        >>> rule = chain(step=sgd(0.1), box=project(0.0, 1.0))
        >>> rule.init(0.02)
        {'step': {'velocity': 0.0}}
        >>> signal, state = rule.update(Signal(gradient=0.5, value=0.02), rule.init(0.02))
        >>> signal.value, signal.events, state
        (0.0, ('projected_low',), {'step': {'velocity': 0.5}})
    """
    require(bool(rules), "rules", rules, "at least one named rule")

    def init(value: float) -> RuleState:
        states = {name: rule.init(value) for name, rule in rules.items()}
        return {name: state for name, state in states.items() if state}

    expected = init(1.0)  # which keys a rule has depends on its settings, never on the value

    def update(signal: Signal, state: RuleState) -> tuple[Signal, RuleState]:
        require(has_keys_of(state, expected), "the chain's state", state, f"a mapping with the keys of {expected}")
        check_finite("", {"gradient": signal.gradient, "value": signal.value}, "a finite number")
        entered, following = signal.gradient, dict(state)
        for name, rule in rules.items():
            signal, own = rule.update(signal, state.get(name, {}))
            following |= {name: own} if own else {}
        outcome = {"gradient": signal.gradient, "value": signal.value, **following}
        check_finite("next ", outcome, f"finite after gradient {entered!r}")
        return signal, following

    return UpdateRule(init, update)


def has_keys_of(state: object, expected: object) -> bool:
    """True when two states have the same keys at every level: one rule can take up where another stopped.

    Example:
        >>> has_keys_of({"step": {"velocity": 0.1}}, {"step": {"velocity": 0.0}}), has_keys_of({"step": {}}, {})
        (True, False)
    """
    if not isinstance(expected, Mapping) or not isinstance(state, Mapping):
        return isinstance(expected, Mapping) == isinstance(state, Mapping)
    return state.keys() == expected.keys() and all(has_keys_of(state[key], expected[key]) for key in expected)


def check_finite(prefix: str, numbers: Mapping[str, Any], valid: str) -> None:
    """Raise InvalidReportError for the first number that is not finite, at any depth."""
    for name, number in numbers.items():
        if isinstance(number, Mapping):
            check_finite(f"{prefix}{name}.", number, valid)
        else:
            exact = number if type(number) is float else exact_number(number)
            require_signal(exact is not None and math.isfinite(exact), f"{prefix}{name}", number, valid)


def require(condition: bool, name: str, value: object, valid: str) -> None:
    """Reject a setting: raise ConfigError with its name, its value and the valid range."""
    if not condition:
        raise ConfigError(f"{name} is {value!r}, must be {valid}")


def require_signal(condition: bool, name: str, value: object, valid: str) -> None:
    """Reject a signal: raise InvalidReportError with the field, its value and the valid range."""
    if not condition:
        raise InvalidReportError(f"{name} is {value!r}, must be {valid}")


def require_number(name: str, value: float | None) -> float:
    """A number that the signal must carry, or InvalidReportError."""
    if value is None or not math.isfinite(value):
        raise InvalidReportError(f"{name} is {value!r}, must be a finite number")
    return value


def require_positive(**settings: float) -> None:
    """Each of the settings must be a positive finite number."""
    for name, value in settings.items():
        require(0 < value < math.inf, name, value, "a positive finite number")


def require_fraction(**settings: float) -> None:
    """Each of the settings must lie in [0, 1)."""
    for name, value in settings.items():
        require(0 <= value < 1, name, value, "in [0, 1)")
