"""Reward functions by name or import path, and the arguments that they take."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from maxent_ray import plugins
from maxent_ray.errors import ConfigError
from maxent_ray.extras import require_for_setting

FIELD = "task.kwargs.rewards"
BUILT_IN: Mapping[str, str] = {"math_verify": "maxent_ray.tasks.rewards.math_answers:math_verify"}
"""Name → import path."""
_BATCH = ("prompts", "completions")
_OF_TRL = ("completion_ids", "trainer_state", "log_extra", "log_metric", "environments")
"""Further arguments by which TRL's trainer calls a reward."""


def load_function(name: str) -> Any:
    """Import a reward function.

    Raises:
        ConfigError: it cannot be imported, or is no function.

    Example:
        >>> load_function("math_verify").__name__
        'math_verify'
        >>> load_function("math:pi")
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: task.kwargs.rewards has 'math:pi', which is a float, no function
    """
    if name not in BUILT_IN and ":" not in name:
        valid = f"{', '.join(BUILT_IN)}, or an import path module:function"
        raise ConfigError(f"{FIELD} has {name!r}; valid: {valid}")
    if name == "math_verify":
        require_for_setting(f"{FIELD} has 'math_verify'", "math-verify", "0.9", "tasks")
    function = plugins.import_object(BUILT_IN.get(name, name), FIELD)
    if not callable(function):
        raise ConfigError(f"{FIELD} has {name!r}, which is a {type(function).__name__}, no function")
    return function


def check_arguments(name: str, columns: Collection[str]) -> None:
    """Check that the data has every column that a reward function needs.

    Args:
        name: Of the function, as :func:`load_function` takes it.
        columns: Those of the data.

    Raises:
        ConfigError: as :func:`load_function`; or it needs an argument that is no column; the message names both.

    Example:
        >>> check_arguments("math_verify", ["answer", "level"])
        >>> check_arguments("math_verify", ["solution"])
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: task.kwargs.rewards has 'math_verify', which needs the column 'answer'; ...
    """
    needed = [
        parameter.name
        for parameter in _parameters(load_function(name)).values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    for argument in needed:
        if argument in columns or argument in _BATCH:
            continue
        if argument in _OF_TRL:
            instead = "which TRL's trainer passes and this one does not; give it a default"
            raise ConfigError(f"{FIELD} has {name!r}, which needs {argument}, {instead}")
        there = ", ".join(columns) or "none besides the prompt"
        raise ConfigError(f"{FIELD} has {name!r}, which needs the column {argument!r}; the data has: {there}")


def arguments_of(function: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Select what a function takes: all by ``**columns``, else those that it names.

    Example:
        >>> arguments_of(lambda completions, **columns: [], {"completions": ["2"], "answer": [2]})
        {'completions': ['2'], 'answer': [2]}
        >>> arguments_of(lambda completions: [], {"completions": ["2"], "answer": [2]})
        {'completions': ['2']}
    """
    parameters = _parameters(function)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(batch)
    return {name: value for name, value in batch.items() if name in parameters}


def is_async(function: Any) -> bool:
    """True for an asynchronous function, or an object that is called as one."""
    return any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function).parameters
