"""Objects of a user's own: found by import path (``package.module:name``) or by the name of an entry point."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from maxent_ray.errors import ConfigError, MaxentRayError

OBJECTIVES, RULES, TASKS = "maxent_ray.objectives", "maxent_ray.rules", "maxent_ray.tasks"
"""Groups of entry points."""


def import_object(path: str, field: str) -> Any:
    """Import what an import path names.

    Args:
        path: ``package.module:name``; the name may have dots.
        field: Setting that the path comes from, for messages.

    Raises:
        ConfigError: the path has another form, there is no such module or name, or the module fails while it is
            imported; the message says which.

    Example:
        >>> import_object("math:pi", "task.name")
        3.141592653589793
        >>> import_object("math:tau.pi", "task.name")
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: task.name is 'math:tau.pi': math has no 'tau.pi'
    """
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise ConfigError(f"{field} is {path!r}; it must be an import path, as package.module:name")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        whose = "" if module == missing or module.startswith(f"{missing}.") else f", which {module} imports"
        hint = "is it installed, or its folder on PYTHONPATH?"
        raise ConfigError(f"{field} is {path!r}: there is no module {missing!r}{whose}; {hint}") from None
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{field} is {path!r}: importing {module} fails with {type(error).__name__}: {error}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{field} is {path!r}: {module} has no {name!r}")
        found = getattr(found, part)
    return found


def check_kwargs(kwargs: Mapping[str, Any], field: str) -> None:
    """Check that arguments survive files and messages: plain values of JSON, finite, and with text as keys.

    Raises:
        ConfigError: one does not; the message names it.

    Example:
        >>> check_kwargs({"share": 0.1}, "task.kwargs")
        >>> check_kwargs({"limit": float("inf")}, "task.kwargs")
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: task.kwargs.limit is inf; it must be a number, text, list or mapping of such
    """
    for name, value in kwargs.items():
        try:
            survives = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError, RecursionError):
            survives = False
        if not survives:
            valid = "it must be a number, text, list or mapping of such"
            raise ConfigError(f"{field}.{name} is {value!r}; {valid}")


def call(path: str, kwargs: Mapping[str, Any], field: str) -> Any:
    """Import what a path names and call it.

    Raises:
        ConfigError: as :func:`import_object`; or the call fails, as with arguments that it does not take.

    Example:
        >>> call("fractions:Fraction", {"numerator": 1, "denominator": 2}, "task.name")
        Fraction(1, 2)
    """
    factory = import_object(path, field)
    try:
        return factory(**kwargs)
    except MaxentRayError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in kwargs.items())
        raise ConfigError(
            f"{field} is {path!r}: calling it with ({given}) fails with {type(error).__name__}: {error}"
        ) from error


def import_path(name: str, group: str, built_in: Iterable[str], field: str) -> str:
    """The import path of a plug-in.

    Args:
        name: Of an entry point, or an import path already.
        group: Of entry points, such as :data:`OBJECTIVES`.
        built_in: Names that the package itself has, for messages.
        field: Setting that the name comes from, for messages.

    Raises:
        ConfigError: nothing has that name, or two plug-ins share it; the message has the valid names.

    Example:
        >>> import_path("my_package:MyTask", TASKS, ["countdown"], "task.name")
        'my_package:MyTask'
        >>> import_path("contdown", TASKS, ["countdown"], "task.name")
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: task.name is 'contdown'; valid: countdown, or an import path package.module:name
    """
    if ":" in name:
        return name
    paths = plug_ins(group)
    found = paths.get(name, ())
    if len(found) == 1:
        return found[0]
    if found:
        both = " and ".join(found)
        raise ConfigError(f"{field} is {name!r}, which {both} both provide; give the import path of one")
    valid = ", ".join(sorted({*built_in, *paths}))
    raise ConfigError(f"{field} is {name!r}; valid: {valid}, or an import path package.module:name")


@cache
def plug_ins(group: str) -> Mapping[str, tuple[str, ...]]:
    """Name → import paths of all installed entry points of a group; more than one where packages collide."""
    found: dict[str, tuple[str, ...]] = {}
    for point in entry_points(group=group):
        if point.value not in found.get(point.name, ()):
            found[point.name] = (*found.get(point.name, ()), point.value)
    return found
