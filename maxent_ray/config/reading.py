"""Values from files and from the command line: what each is depends on the field that it is for.

Where the field is text it is the text as it was typed, else a number, ``true``, ``false``, ``null``, a list or a
mapping. Nothing is converted: the field refuses what it cannot have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maxent_ray.config.field_kinds import Place, kinds_at, path_of, takes_list
from maxent_ray.config.messages import place_of
from maxent_ray.config.yaml_text import Unquoted, read_unquoted, read_yaml
from maxent_ray.core.field_types import shown
from maxent_ray.errors import ConfigError


def read_file(path: Path) -> dict[str, Any]:
    """Read the sections of a YAML file in UTF-8.

    Raises:
        ConfigError: it cannot be read, is not valid YAML or holds no sections.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    values = typed(read_yaml(text, str(path)))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; it must hold sections of settings")
    return values


def read_override(item: str) -> tuple[str, Any]:
    """Read key and value of ``section.key=value``; a blank on either side of ``=`` belongs to neither.

    Raises:
        ConfigError: it has another form, or a value in brackets or quotes is not valid YAML.

    Example:
        >>> read_override("policy.model=runs/run #2"), read_override("tune.objectives=[analytic]")
        (('policy.model', 'runs/run #2'), ('tune.objectives', ['analytic']))
    """
    key, equals, text = item.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise ConfigError(f"override {item!r} is not of the form section.key=value, as in train.steps=60")
    text = text.removeprefix(" ") if key.endswith(" ") else text
    path = path_of(key.strip())
    is_text = str in kinds_at(path) and not (takes_list(path) and text.lstrip().startswith("["))
    if is_text or not text.lstrip().startswith(("{", "[", "'", '"')):
        value: Any = Unquoted(text if is_text else text.strip())
    else:
        value = read_yaml(text, f"the override {item!r} begins like a list, a mapping or quoted text; its value")
    return key.strip(), typed(value, path)


def typed(value: Any, path: Place = ()) -> Any:
    """Read what was typed without quotes, however deep in a value, as its field asks; keys are text.

    Args:
        value: Of a setting or a section.
        path: Where it is in the settings.

    Raises:
        ConfigError: a free value could be one thing or another.
    """
    if isinstance(value, Unquoted):
        return read_unquoted(value, kinds_at(path), place_of(path))
    if isinstance(value, dict):
        return {_key(key, path): typed(inner, (*path, _key(key, path))) for key, inner in value.items()}
    return [typed(inner, (*path, index)) for index, inner in enumerate(value)] if isinstance(value, list) else value


def _key(key: object, path: Place) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"{place_of(path) or 'the file'} has the key {shown(key)}; keys are text: write it in quotes")
    return str(key)
