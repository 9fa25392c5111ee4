"""Reading what came from outside into frozen dataclasses, strictly: a wrong type, count or size is named, never used.

What a field may hold follows from its declared type. Where a type says too little, ``Annotated`` adds a range
(:class:`~maxent_ray.core.field_types.Within`) or what keys a mapping may have
(:class:`~maxent_ray.core.field_types.Entries`).
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from maxent_ray.core.field_types import (
    LARGEST,
    LARGEST_COUNT,
    Entries,
    Items,
    Kind,
    Number,
    Optional,
    Plain,
    Problem,
    Record,
    Table,
    Within,
)

T = TypeVar("T")


def read_dataclass(cls: type[T], values: object, path: str) -> T:
    """Build ``cls`` from plain values, such as JSON gives: one entry a field, all of them there, none besides.

    Args:
        cls: A dataclass whose fields are numbers, texts, mappings, tuples or dataclasses of such.
        values: A mapping.
        path: What messages call it.

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
    record = _record(cls)  # type: ignore[arg-type]  # classes are hashable
    problem = record.problem(values, path) if isinstance(values, Mapping) else Problem(path, values, "a mapping")
    if problem is not None:
        raise problem.error()
    built: T = record.build(values)
    return built


def build_dataclass(cls: type[T], values: Mapping[str, Any]) -> T:
    """As :func:`read_dataclass`, of what :func:`to_plain` made in this program: nothing is checked."""
    built: T = _record(cls).build(values)  # type: ignore[arg-type]  # classes are hashable
    return built


def to_plain(instance: Any) -> dict[str, Any]:
    """What :func:`read_dataclass` builds the same instance from: plain values, ready for JSON."""
    plain: dict[str, Any] = _record(type(instance)).plain(instance)  # type: ignore[arg-type]  # classes are hashable
    return plain


def check_fields(instance: Any, path: str) -> None:
    """Check what a dataclass instance holds, with the same strictness.

    Raises:
        InvalidReportError: as :func:`read_dataclass`.
    """
    problem = first_problem(instance, path)
    if problem is not None:
        raise problem.error()


def first_problem(instance: Any, path: str = "") -> Problem | None:
    """What :func:`check_fields` would raise about, as a value; None when all is well."""
    return _record(type(instance)).problem(instance, path)  # type: ignore[arg-type]  # classes are hashable


@cache
def _record(cls: type) -> Record:
    """What a dataclass admits: worked out once."""
    hints = get_type_hints(cls, include_extras=True)
    return Record(cls, {f.name: _kind(hints[f.name]) for f in fields(cls)})


def _kind(declared: Any, extra: Any = None) -> Kind:
    if get_origin(declared) is Annotated:
        inner, *metadata = get_args(declared)
        return _kind(inner, metadata[0])
    if declared in (int, float):
        return _number(declared is int, extra)
    if declared in (str, bool):
        return Plain(declared)
    if is_dataclass(declared) and isinstance(declared, type):
        return _record(declared)
    origin, arguments = get_origin(declared), get_args(declared)
    if origin is tuple:
        return Items(_kind(arguments[0]))
    if origin is Mapping:
        return Table(_kind(arguments[1]), extra or Entries())
    if origin in (Union, types.UnionType) and type(None) in arguments:
        return Optional(_kind(next(argument for argument in arguments if argument is not type(None)), extra))
    raise TypeError(f"a field declared as {declared} cannot be read; use numbers, texts, mappings or dataclasses")


def _number(whole: bool, within: Within | None) -> Number:
    least, most = within or Within(0.0 if whole else -LARGEST)
    return Number(whole, least, min(most, LARGEST_COUNT) if whole else most, int if whole else float)
