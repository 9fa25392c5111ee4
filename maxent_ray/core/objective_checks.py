"""Checks of what an objective, which may be a user's code, gives the controller, and of numbers out of range."""

from __future__ import annotations

from typing import Any, NamedTuple

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives import ControllerGradients, ControllerObjective
from maxent_ray.core.state import ControllerState, NestedMemory
from maxent_ray.core.validation import find_violation
from maxent_ray.errors import ConfigError, InvalidReportError


class ObjectiveUpdate(NamedTuple):
    """Error signals of one update, and the objective's memory after it."""

    gradients: ControllerGradients | None
    memory: NestedMemory


def check_objective(objective: object, config: ControllerConfig) -> None:
    """Raise ConfigError for an objective that cannot be used with the settings beside it."""
    if not isinstance(objective, ControllerObjective):
        raise ConfigError(f"objective is {objective!r}; it must be an instance of a ControllerObjective")
    if config.objective is None or config.objective.steps_itself:
        named = "None" if config.objective is None else repr(config.objective)
        raise ConfigError(f"config.objective is {named}, beside objective={objective.name!r}; leave it at Analytic()")


def checked_signals(result: Any, name: str) -> ObjectiveUpdate:
    """Result of an objective's update, which may be a user's code.

    Raises:
        InvalidReportError: it is something else.
    """
    match result:
        case (ControllerGradients() | None as formed, memory):
            return ObjectiveUpdate(formed, memory)
        case (formed, _):
            found = f"{type(formed).__name__} for its gradients"
        case _:
            found = type(result).__name__
    valid = "it must return ControllerGradients or None, and with update its memory beside them"
    raise InvalidReportError(f"objective {name!r} returned {found}; {valid}")


def overflow_path(values: ControllerState | ControllerGradients | None) -> str:
    """Path of a number that is not finite or too large; empty for none. Anything else is a mistake in user code.

    Raises:
        InvalidReportError: names the field and its value.
    """
    violation = None if values is None else find_violation(values)
    if violation is not None and not isinstance(violation.value, float):
        raise violation.error()
    return "" if violation is None else violation.path
