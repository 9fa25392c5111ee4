"""Sections that are dataclasses of the core or the runtime: nested mappings to checked instances."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union

import pydantic
from pydantic import ValidationError, create_model

from maxent_ray import plugins
from maxent_ray.config.messages import refusals, unknown_key
from maxent_ray.config.section import Number, Section, Whole
from maxent_ray.core.field_types import shown
from maxent_ray.core.unions import members
from maxent_ray.errors import ConfigError, UnknownObjectiveError

T = TypeVar("T")
_PLUG_INS = {"objective": plugins.OBJECTIVES, "tau_rule": plugins.RULES, "beta_rule": plugins.RULES}
"""Field → group of entry points that its ``type`` may name."""


def read_section(cls: type[T], place: str, values: object) -> T:
    """Build a dataclass of settings from nested mappings, the inner ones first.

    Args:
        cls: The dataclass; fields that hold one of several dataclasses are chosen by their ``type``.
        place: Dotted key of the section, for messages.
        values: A mapping of settings, or an instance, which is returned.

    Raises:
        ConfigError: a key is unknown, a ``type`` does not exist or a value is out of range; the message names the valid
            ones.

    Example:
        >>> from maxent_ray.core.update_rules import Adam
        >>> read_section(Adam, "controller.tau_rule", {"learning_rate": 0.1}).learning_rate
        0.1
    """
    if isinstance(values, cls):
        return values
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place} is {shown(values)}; it must be a mapping of settings")
    valid = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in valid:
            raise ConfigError(unknown_key(f"{place}.{key}", valid))
    built = dict(values)
    for name, choices in members(cls).items():  # type: ignore[arg-type]
        value = values.get(name)
        if isinstance(value, Mapping):
            built[name] = read_choice(name, value, choices, f"{place}.{name}")
        elif value is not None and not isinstance(value, tuple(choices.values())):
            types = f" with a type: {', '.join(choices)}" if len(choices) > 1 else ""
            raise ConfigError(f"{place}.{name} is {shown(value)}; it must be a mapping of settings{types}")
    try:
        checked = _model(cls).model_validate(built)  # type: ignore[arg-type]  # a class is hashable
    except ValidationError as error:
        raise ConfigError(refusals(error, built, (place,))) from None
    try:
        return cls(**{name: getattr(checked, name) for name in checked.model_fields_set})
    except ConfigError as error:
        raise ConfigError(f"{place}.{error}") from None


def read_choice(name: str, value: Mapping[str, Any], choices: Mapping[str, type], place: str) -> Any:
    """Build the dataclass that a mapping asks for; a plug-in's name or import path becomes ``custom``.

    Args:
        name: The field.
        value: Settings, with a ``type`` unless it is the first choice's.
        choices: Type → dataclass.
        place: Dotted key, for messages.

    Raises:
        ConfigError: as :func:`read_section`.

    Example:
        >>> from maxent_ray.core.weightings import GRPOWeighting
        >>> read_choice("weighting", {"normalization": "none"}, {"grpo": GRPOWeighting}, "weighting").normalization
        'none'
    """
    default = next(iter(choices))
    if len(choices) == 1:
        return read_section(choices[default], place, value)
    chosen = value.get("type", default)
    if isinstance(chosen, str) and chosen in choices:
        return read_section(choices[chosen], place, {**value, "type": chosen})
    if name not in _PLUG_INS or not isinstance(chosen, str):
        raise ConfigError(f"{place}.type is {shown(chosen)}; valid: {', '.join(sorted(choices))}")
    try:
        path = plugins.import_path(chosen, _PLUG_INS[name], choices, f"{place}.type")
    except ConfigError as error:
        raise (UnknownObjectiveError if name == "objective" else ConfigError)(str(error)) from None
    named = {"name": chosen} if name == "objective" else {}
    return read_section(choices["custom"], place, {**named, **value, "type": "custom", "import_path": path})


@cache
def _model(cls: type) -> type[Section]:
    """Fields and types of a dataclass, for a check as strict as that of every section."""
    hints = typing.get_type_hints(cls)
    declared: dict[str, Any] = {field.name: (_exact(hints[field.name]), _default(field)) for field in fields(cls)}
    return create_model(cls.__name__, __base__=Section, **declared)


def _exact(hint: Any) -> Any:
    """The same type, with numbers as all sections take them."""
    if typing.get_origin(hint) in (Union, UnionType):
        return Union[tuple(map(_exact, typing.get_args(hint)))]  # noqa: UP007  # of a variable number of types
    return {int: Whole, float: Number}.get(hint, hint)


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return pydantic.Field(default_factory=field.default_factory)
    return ... if field.default is MISSING else field.default
