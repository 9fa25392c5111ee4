"""Numbers of other libraries, such as numpy's and torch's, as the Python numbers that they are exactly."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from numbers import Complex, Real
from typing import Any, SupportsFloat, SupportsIndex, get_args, get_type_hints

LARGEST_COUNT = 2**53
"""Whole numbers up to here are exact as floats, too."""
_CONVERSIONS: tuple[Callable[[Any], int | float], ...] = (operator.index, float)


def exact_number(value: object) -> int | float | None:
    """Convert a number of any library by ``operator.index`` or ``float``.

    Args:
        value: Anything.

    Returns:
        The same number; None if it is none: a text, a truth value, a complex number, an array of several.

    Example:
        >>> import numpy as np
        >>> exact_number(np.int64(3)), exact_number(np.float32(0.5)), exact_number(np.array(0.5)), exact_number("3")
        (3, 0.5, 0.5, None)
    """
    if type(value) is float or type(value) is int:
        return value
    held = _unwrapped(value)
    if isinstance(held, bool | str | bytes) or (isinstance(held, Complex) and not isinstance(held, Real)):
        return None
    if isinstance(held, SupportsIndex | SupportsFloat):
        for convert in _CONVERSIONS:
            try:
                return convert(held)
            except (TypeError, ValueError, OverflowError):
                continue
    return None


def exact_whole(value: object) -> int | None:
    """The whole number that a value is exactly; None if it is none. A float is one below :data:`LARGEST_COUNT`.

    Example:
        >>> exact_whole(24.0), exact_whole(24.5), exact_whole(True)
        (24, None, None)
    """
    number = exact_number(value)
    if isinstance(number, float):
        return int(number) if number.is_integer() and abs(number) < LARGEST_COUNT else None
    return number


def exact_or_same(value: Any, *, whole: bool = False) -> Any:
    """The number that a value is exactly; what is none, or with ``whole`` no whole one, as it is: a check will follow.

    Example:
        >>> exact_or_same(24.0, whole=True), exact_or_same(1.5, whole=True), exact_or_same(True), exact_or_same("24")
        (24, 1.5, True, '24')
    """
    number = exact_whole(value) if whole else exact_number(value)
    return value if number is None else number


def exact_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert all numbers of a mapping, nested at will; anything else stays as it is.

    Example:
        >>> import numpy as np
        >>> exact_numbers({"step": {"velocity": np.float32(0.5)}})
        {'step': {'velocity': 0.5}}
    """
    return {
        key: exact_numbers(value) if isinstance(value, Mapping) else exact_or_same(value)
        for key, value in values.items()
    }


def hold_exact_numbers(instance: Any) -> None:
    """Convert the numeric fields of a frozen dataclass in place, and of dataclasses in its fields.

    For ``__post_init__``: whatever a caller computes with, an instance holds Python's numbers. What is no number stays
    as it is, for the checks that follow.

    Example:
        >>> import numpy as np
        >>> from maxent_ray import BatchStatistics
        >>> BatchStatistics(groups=np.int64(2), completions=16.0, reward_sum=np.float32(0.5)).to_dict()["completions"]
        16
    """
    held = vars(instance)
    for name, usual in numeric_fields(type(instance)):  # type: ignore[arg-type]  # classes are hashable
        value = held[name]
        if type(value) is not usual and value is not None:
            object.__setattr__(instance, name, exact_or_same(value, whole=usual is int))
    for name in _nested_fields(type(instance)):  # type: ignore[arg-type]  # classes are hashable
        if is_dataclass(held[name]):
            hold_exact_numbers(held[name])


@cache
def numeric_fields(cls: type) -> tuple[tuple[str, type], ...]:
    """Names of the fields that are declared as numbers; with int where only whole numbers are, else with float.

    Example:
        >>> from maxent_ray.core.update_rules import Adam
        >>> dict(numeric_fields(Adam))["learning_rate"]
        <class 'float'>
    """
    declared = {field.name: _alternatives(get_type_hints(cls)[field.name]) for field in fields(cls)}
    return tuple((name, float if float in types else int) for name, types in declared.items() if types & {int, float})


def _unwrapped(value: Any) -> object:
    """Element of an array, a tensor or a scalar of one element, as Python's where Python has such; anything else as is.

    Their conversions to numbers would take texts, truth values and complex numbers for real ones.
    """
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):  # no such method, or several elements
        return value


@cache
def _nested_fields(cls: type) -> tuple[str, ...]:
    """Names of the fields that may hold dataclasses."""
    hints = get_type_hints(cls)
    return tuple(field.name for field in fields(cls) if any(map(is_dataclass, _alternatives(hints[field.name]))))


def _alternatives(hint: Any) -> set[Any]:
    return {hint, *get_args(hint)}
