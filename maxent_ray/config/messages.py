"""Messages of refused settings: the key as it was written, its value, and how to write one that is valid."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from maxent_ray.config.yaml_text import read_unquoted
from maxent_ray.core.field_types import shown
from maxent_ray.core.numbers import exact_number, exact_whole


def unknown_key(place: str, valid: Iterable[str]) -> str:
    """The message for a key that does not exist, with the nearest and all valid ones.

    Example:
        >>> unknown_key("train.step", ["steps", "seed"])
        "unknown key 'train.step'. Did you mean 'steps'? Valid keys here: seed, steps"
    """
    close = difflib.get_close_matches(place.rpartition(".")[2], list(valid), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"unknown key {place!r}.{hint} Valid keys here: {', '.join(sorted(valid))}"


def place_of(path: Iterable[str | int]) -> str:
    """A place in the settings, as messages have it.

    Example:
        >>> place_of(("tune", "objectives", 0))
        'tune.objectives[0]'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def by_place(
    details: Iterable[ErrorDetails], values: Mapping[str, Any]
) -> dict[tuple[str | int, ...], list[ErrorDetails]]:
    """Group what pydantic found by the place in the values: alternatives of a union are found one by one.

    A list or mapping with a wrong part is left out: what is said of it follows from that part.
    """
    found: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for detail in details:
        found.setdefault(_written(detail, values), []).append(detail)
    inner = {path[:length] for path in found for length in range(len(path))}
    return {path: wrong for path, wrong in found.items() if path not in inner}


def refusals(error: ValidationError, values: Mapping[str, Any], place: tuple[str, ...] = ()) -> str:
    """The message for all values that a section refused, a line each.

    Args:
        error: What pydantic found.
        values: Those that it was given.
        place: Keys of the section that refused them.
    """
    found = by_place(error.errors(), values)
    return "\n".join(refusal(place_of((*place, *path)), details) for path, details in found.items())


def refusal(place: str, details: Sequence[ErrorDetails]) -> str:
    """The message for a value that its field cannot have, with how to write one.

    Args:
        place: The key.
        details: What is wrong, for each type that the field may have.
    """
    if not place:  # of several settings together
        return details[0]["msg"].removeprefix("Value error, ")
    if details[0]["type"] == "missing":
        return f"{place} is missing; it must be set"
    wrong = [detail["msg"].removeprefix("Value error, ") for detail in details]
    reason = " or ".join([wrong[0], *(text.removeprefix("Input should be ") for text in wrong[1:])])
    ways = {_how_to_write(detail["type"], detail["input"]) for detail in details} - {""}
    return f"{place} is {shown(details[0]['input'])}: {reason}{f'; {ways.pop()}' if len(ways) == 1 else ''}"


def _written(detail: ErrorDetails, values: Any) -> tuple[str | int, ...]:
    """Keys and indices in a location; what else pydantic has there are tags of the alternatives of a union."""
    path: list[str | int] = []
    for part in detail["loc"]:
        is_key = part in values if isinstance(values, Mapping) else False
        if is_key or (isinstance(values, list | tuple) and isinstance(part, int)):
            path, values = [*path, part], values[part]
    return (*path, detail["loc"][-1]) if detail["type"] == "missing" else tuple(path)


def _how_to_write(kind: str, value: object) -> str:
    if kind not in _UNQUOTED:
        return _HOW_TO_WRITE.get(kind, "")
    declared, holds, what, example = _UNQUOTED[kind]
    quoted = isinstance(value, str) and holds(read_unquoted(value, {declared}, ""))
    return f"write {what}{' without quotes' if quoted else ''}{example}"


_UNQUOTED: Mapping[str, tuple[type, Callable[[object], bool], str, str]] = {
    "int_type": (int, lambda value: exact_whole(value) is not None, "a whole number", ", as 60"),
    "float_type": (float, lambda value: exact_number(value) is not None, "a number", ", as 0.1"),
    "bool_type": (bool, lambda value: isinstance(value, bool), "true or false", ""),
}
_HOW_TO_WRITE = {
    "string_type": "write text; what YAML reads as null, a list or a mapping is text in quotes",
    "tuple_type": "write a list in brackets, as [a, b]",
    "dict_type": "write a mapping, as {key: value}",
    "model_type": "write settings below it, or leave it out for their defaults",
    **dict.fromkeys(
        ("model_attributes_type", "union_tag_not_found"),
        "write a whole domain, as {type: uniform, low: 0.03, high: 0.1}",
    ),
}
