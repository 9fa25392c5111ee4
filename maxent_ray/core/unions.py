"""Settings from nested mappings: dataclasses whose fields may be unions on ``type``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from maxent_ray.errors import ConfigError


def build_settings(cls: type, values: Mapping[str, Any]) -> Any:
    """Build a dataclass of settings, the inner ones first.

    Args:
        cls: The dataclass.
        values: Its fields; a mapping for a field that holds a dataclass, or one of several with their ``type``.

    Example:
        >>> from maxent_ray.core.config import ControllerConfig
        >>> values = {"objective": {"type": "truncated_backprop", "form": {"type": "joint"}}}
        >>> build_settings(ControllerConfig, values).objective.form
        Joint(type='joint')
    """
    built = dict(values)
    for name, value in values.items():
        choices = members(cls).get(name)
        if choices and isinstance(value, Mapping):
            chosen = value.get("type", next(iter(choices)))
            if chosen not in choices:
                raise ConfigError(f"{name}.type is {chosen!r}; valid: {', '.join(choices)}")
            built[name] = build_settings(choices[chosen], value)
    return cls(**built)


@cache
def members(cls: type) -> Mapping[str, Mapping[str, type]]:
    """Field → type → dataclass, for the fields of a dataclass that hold one; the first is the default."""
    hints = get_type_hints(cls)
    found = {name: {_tag(choice): choice for choice in _dataclasses(hint)} for name, hint in hints.items()}
    return {name: choices for name, choices in found.items() if choices}


def _tag(choice: type) -> str:
    return str(getattr(choice, "type", choice.__name__))


def _dataclasses(hint: Any) -> list[type]:
    if isinstance(hint, type) and is_dataclass(hint):
        return [hint]
    return [choice for part in get_args(hint) for choice in _dataclasses(part)]
