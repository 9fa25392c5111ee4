"""Strict validation of plain values as frozen dataclasses: a wrong type, count or size is named, never used.

A field's declared type says what it may hold. Where a type says too little, ``Annotated`` adds a range
(:class:`~maxent_ray.core.field_types.Within`), valid keys (:class:`~maxent_ray.core.field_types.Keys`) or nesting
(:class:`~maxent_ray.core.field_types.Nested`).
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from maxent_ray.core.field_types import (
    LARGEST,
    FieldType,
    Keys,
    ListOf,
    MapOf,
    Nested,
    NestedMap,
    Number,
    Optional,
    Scalar,
    Struct,
    Violation,
    Within,
    shown,
)
from maxent_ray.core.numbers import LARGEST_COUNT, exact_whole
from maxent_ray.errors import MaxentRayError

T = TypeVar("T")


def read_dataclass(cls: type[T], values: object, path: str) -> T:
    """Build ``cls`` from plain values, such as JSON gives: one entry a field, all of them there, none besides.

    Args:
        cls: A dataclass whose fields are numbers, texts, mappings, tuples or dataclasses of such.
        values: A mapping.
        path: Name in messages.

    Raises:
        InvalidReportError: names the path to the first entry that does not fit, its value and what would.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Point:
        ...     x: float
        ...     visits: int
        >>> read_dataclass(Point, {"x": 1, "visits": 2}, "point")
        Point(x=1.0, visits=2)
        >>> read_dataclass(Point, {"x": 1, "visits": True}, "point")
        Traceback (most recent call last):
        ...
        maxent_ray.errors.InvalidReportError: point.visits is True; it must be a whole number >= 0
    """
    struct = _struct(cls)  # type: ignore[arg-type]  # classes are hashable
    violation = struct.violation(values, path) if isinstance(values, Mapping) else Violation(path, values, "a mapping")
    if violation is not None:
        raise violation.error()
    built: T = struct.build(values)
    return built


def check_whole(value: object, path: str, error: type[MaxentRayError]) -> int:
    """The whole number that a value is, whatever library it comes from; an error of the given class if it is none.

    Example:
        >>> from maxent_ray.errors import ConfigError
        >>> check_whole(24.0, "rank", ConfigError)
        24
        >>> check_whole("24", "rank", ConfigError)
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: rank is '24'; it must be a whole number
    """
    whole = exact_whole(value)
    if whole is None:
        raise error(f"{path} is {shown(value)}; it must be a whole number")
    return whole


def build_dataclass(cls: type[T], values: Mapping[str, Any]) -> T:
    """As :func:`read_dataclass`, from values that :func:`to_plain` made in this program: nothing is checked."""
    built: T = _struct(cls).build(values)  # type: ignore[arg-type]  # classes are hashable
    return built


def to_plain(instance: Any) -> dict[str, Any]:
    """Plain values, ready for JSON, from which :func:`read_dataclass` builds the same instance."""
    plain: dict[str, Any] = _struct(type(instance)).plain(instance)  # type: ignore[arg-type]  # classes are hashable
    return plain


def check_fields(instance: Any, path: str) -> None:
    """Check the fields of a dataclass instance, with the same strictness.

    Raises:
        InvalidReportError: as :func:`read_dataclass`.
    """
    violation = find_violation(instance, path)
    if violation is not None:
        raise violation.error()


def find_violation(instance: Any, path: str = "") -> Violation | None:
    """The first field that :func:`check_fields` would raise about; None when all fit."""
    return _struct(type(instance)).violation(instance, path)  # type: ignore[arg-type]  # classes are hashable


@cache
def _struct(cls: type) -> Struct:
    """Field types of a dataclass, derived once."""
    hints = get_type_hints(cls, include_extras=True)
    return Struct(cls, {f.name: _field_type(hints[f.name]) for f in fields(cls)})


def _field_type(declared: Any, extra: Any = None) -> FieldType:
    if get_origin(declared) is Annotated:
        inner, *metadata = get_args(declared)
        return _field_type(inner, metadata[0])
    if declared in (int, float):
        return _number(declared is int, extra)
    if declared in (str, bool):
        return Scalar(declared)
    if is_dataclass(declared) and isinstance(declared, type):
        return _struct(declared)
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is tuple:
        return ListOf(_field_type(arguments[0]))
    if origin is Mapping and isinstance(extra, Nested):
        return NestedMap(_number(False, None), _number(False, Within(0.0)), extra.non_negative)
    if origin is Mapping:
        return MapOf(_field_type(arguments[1]), extra or Keys())
    if origin in (Union, types.UnionType) and type(None) in arguments:
        return Optional(_field_type(next(argument for argument in arguments if argument is not type(None)), extra))
    raise TypeError(f"a field declared as {declared} cannot be read; use numbers, texts, mappings or dataclasses")


def _number(whole: bool, within: Within | None) -> Number:
    least, most = within or Within(0.0 if whole else -LARGEST)
    return Number(whole, least, min(most, LARGEST_COUNT) if whole else most, int if whole else float)
