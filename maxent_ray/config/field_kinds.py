"""Declared types of settings by their dotted keys: one look-up for files, overrides and searches."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, TypeAlias, Union

from pydantic import BaseModel

from maxent_ray.config.settings import ExperimentConfig

Place: TypeAlias = tuple[str | int, ...]
"""Parts of a dotted key, and indices of lists."""
SEARCH_SPACE = ("tune", "search_space")
"""Path of the one setting whose keys have dots in them."""


def path_of(dotted: str) -> tuple[str, ...]:
    """Parts of a dotted key; what follows ``tune.search_space.`` is one key.

    Example:
        >>> path_of("grpo.group_size"), path_of("tune.search_space.grpo.learning_rate")
        (('grpo', 'group_size'), ('tune', 'search_space', 'grpo.learning_rate'))
    """
    parts = tuple(dotted.split("."))
    inner = parts[len(SEARCH_SPACE) :]
    return (*SEARCH_SPACE, ".".join(inner)) if inner and parts[: len(SEARCH_SPACE)] == SEARCH_SPACE else parts


def is_section(path: Place) -> bool:
    """True where a setting is a section of settings, and not one of several that differ by their ``type``.

    Example:
        >>> is_section(("grpo",)), is_section(("controller", "tau_rule")), is_section(("task", "kwargs"))
        (True, False, False)
    """
    return len(set(filter(_is_section, _hints_at(path)))) == 1


@cache
def kinds_at(path: Place) -> frozenset[Any]:
    """Types that a setting may have, in every alternative that has the setting, and the texts of a closed list.

    Args:
        path: Where it is. Choices of ``tune.search_space`` have the types of the key that is searched.

    Returns:
        ``Any`` stands for a free value, as in ``kwargs``; nothing for a section, or where there is no such setting.

    Example:
        >>> sorted(kind.__name__ for kind in kinds_at(("train", "use_gpu")))
        ['NoneType', 'bool']
        >>> kinds_at(("tune", "search_space", "controller.target_kl", "values", 0))
        frozenset({<class 'float'>})
    """
    if path[:2] == SEARCH_SPACE and path[3:4] == ("values",) and len(path) > 4:
        return kinds_at((*str(path[2]).split("."), *path[5:]))
    return frozenset(kind for hint in _hints_at(path) for kind in _kinds(hint))


def takes_list(path: Place) -> bool:
    """True where a setting may be a list.

    Example:
        >>> takes_list(("policy", "lora", "target_modules")), takes_list(("policy", "model"))
        (True, False)
    """
    return any(typing.get_origin(hint) in (list, tuple) for hint in _hints_at(path))


def _hints_at(path: Place) -> list[Any]:
    """Types of a setting as they are declared, in every alternative that has the setting."""
    found: list[Any] = [ExperimentConfig]
    for part in path:
        found = [inner for hint in found for inner in _inside(hint, part)]
    return found


def _inside(hint: Any, part: str | int) -> Iterator[Any]:
    """Alternatives of one part of a section, of a mapping or of a list."""
    origin = typing.get_origin(hint)
    if hint is Any:
        yield Any
    elif _is_section(hint):
        yield from _alternatives(_fields(hint)[str(part)]) if part in _fields(hint) else ()
    elif isinstance(origin, type):
        yield from _alternatives(typing.get_args(hint)[1 if issubclass(origin, Mapping) else 0])


def _alternatives(hint: Any) -> Iterator[Any]:
    if typing.get_origin(hint) in (Union, UnionType):
        for part in typing.get_args(hint):
            yield from _alternatives(part)
    else:
        yield hint


def _kinds(hint: Any) -> tuple[Any, ...]:
    """A type of plain values, or the values of a ``Literal``."""
    if typing.get_origin(hint) is Literal:
        return typing.get_args(hint)
    return () if _is_section(hint) or typing.get_origin(hint) is not None else (hint,)


def _is_section(hint: Any) -> bool:
    return is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, BaseModel))


@cache
def _fields(section: Any) -> Mapping[str, Any]:
    """Field → type, without what only pydantic reads."""
    hints = typing.get_type_hints(section)
    names = section.model_fields if issubclass(section, BaseModel) else [field.name for field in fields(section)]
    return {name: hints[name] for name in names}
