"""The ``settings`` directive: tables of all settings of an experiment, from their declarations."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union

from markdown import Generated, first_line, table, to_markdown
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.pycode import ModuleAnalyzer

from maxent_ray.config import ExperimentConfig

FOLLOWS = {"controller.group_size", "controller.weighting"}
"""Fields that are no keys of a configuration: they follow another setting."""


class Setting(NamedTuple):
    """One field of a section."""

    name: str
    hint: Any
    default: Any
    meaning: str


class Settings(Generated):
    """One part for each section of an experiment."""

    def lines(self) -> Iterable[str]:
        """Headings and tables."""
        seen: set[type] = set()
        for section in settings_of(ExperimentConfig, ExperimentConfig()):
            for part in parts_of(section.hint):
                default = section.default if isinstance(section.default, part) else None
                yield from section_lines([section.name], part, seen, default)


def section_lines(
    paths: list[str], section: type, seen: set[type], instance: Any = None, level: int = 2
) -> Iterator[str]:
    """A section's table, and those of the sections inside it.

    Args:
        paths: Dotted keys that hold such a section.
        section: Its declaration.
        seen: Sections that have a table already.
        instance: Its defaults, where they are not those of the declaration.
        level: Of its heading.
    """
    seen.add(section)
    settings = {setting.name: setting for setting in settings_of(section, instance)}
    kind = settings.pop("type").default if "type" in settings else ""
    heading = ", ".join(f"`{path}`" for path in paths) + (f" · `type: {kind}`" if kind else "")
    yield from [f"{'#' * level} {heading}", "", first_line(section), ""]
    rows: list[list[str]] = []
    inner: dict[type, list[str]] = {}
    for name, setting in settings.items():
        path = f"{paths[0]}.{name}"
        if path in FOLLOWS:
            continue
        rows.append([f"`{name}`", hint_text(setting.hint), default_text(setting.default), setting.meaning])
        for part in parts_of(setting.hint):
            inner.setdefault(part, []).append(path)
    if rows:
        yield from table(["key", "values", "default", "meaning"], rows)
    for part, places in inner.items():
        if part not in seen:
            yield from section_lines(places, part, seen, level=3)


def settings_of(section: type, instance: Any = None) -> list[Setting]:
    """Fields of a pydantic model or a dataclass, in order; with the defaults of an instance, if there is one."""
    hints = typing.get_type_hints(section, include_extras=True)
    if issubclass(section, BaseModel):
        found = {name: field.get_default(call_default_factory=True) for name, field in section.model_fields.items()}
    else:
        found = {field.name: default_of(field) for field in fields(section)}
    if instance is not None:
        found = {name: getattr(instance, name) for name in found}
    return [Setting(name, hints[name], default, meaning(section, name)) for name, default in found.items()]


def default_of(field: Field[Any]) -> Any:
    """A dataclass field's default, which may be made by a factory."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def meaning(section: type, name: str) -> str:
    """The docstring below a field, of the class that declares it."""
    for cls in section.__mro__:
        lines = attribute_docs(cls.__module__).get((cls.__qualname__, name))
        if lines:
            return to_markdown(" ".join(lines))
    return ""


@cache
def attribute_docs(module: str) -> dict[tuple[str, str], list[str]]:
    """Docstrings below attributes of a module's classes."""
    return {} if module == "builtins" else ModuleAnalyzer.for_module(module).find_attr_docs()


def parts_of(hint: Any) -> list[type]:
    """Sections that a field may hold."""
    if isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, BaseModel)):
        return [hint]
    return [part for inner in typing.get_args(hint) for part in parts_of(inner)]


def hint_text(hint: Any) -> str:
    """A field's type as a reader of YAML would say it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return hint_text(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        parts = dict.fromkeys("a mapping, below" if parts_of(part) else hint_text(part) for part in arguments)
        return " or ".join(parts)
    if parts_of(hint):
        return "a mapping, below"
    names = {int: "integer", float: "number", str: "text", bool: "`true`, `false`", type(None): "`null`"}
    return names.get(hint, "list" if origin in (tuple, list) else "mapping")


def default_text(value: Any) -> str:
    """A default as YAML has it; nothing for a mapping, whose own table says it."""
    if value in (MISSING, PydanticUndefined):
        return "required"
    if is_dataclass(value) or isinstance(value, BaseModel):
        kind = getattr(value, "type", None)
        return f"`{{type: {kind}}}`" if kind else "below"
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, dict):
        return "below" if value else "`{}`"
    return f"`{value if value != '' else repr(value)}`"


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True}
