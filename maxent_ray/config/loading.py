"""From a YAML file and ``section.key=value`` overrides to a checked :class:`ExperimentConfig`, with readable errors."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from maxent_ray.config.settings import ExperimentConfig
from maxent_ray.errors import ConfigError
from maxent_ray.storage.atomic import write_atomic

_OTHER_FORM = {
    "weighting.tau_target_entropy": "weighting.tau_target_entropy_fraction",
    "weighting.tau_target_entropy_fraction": "weighting.tau_target_entropy",
}


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read a configuration.

    Args:
        path: A YAML file; None for the defaults.
        overrides: ``section.key=value`` strings, values in YAML; later ones win.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown (the message names the valid ones) or a value
            is out of range.

    Example:
        >>> load_config(overrides=["train.steps=60"]).train.steps
        60
    """
    values = _read(path) if path is not None else {}
    return build_config(with_overrides(values, _settled(dict(_parse(item) for item in overrides))))


def build_config(values: Mapping[str, Any]) -> ExperimentConfig:
    """Check nested values and freeze them.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    try:
        return ExperimentConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(detail) for detail in error.errors())) from None


def with_overrides(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested ``values`` with dotted keys replaced.

    Example:
        >>> with_overrides({"a": {"b": 1, "c": 2}}, {"a.b": 3})
        {'a': {'b': 3, 'c': 2}}
    """
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for dotted, value in overrides.items():
        head, _, rest = dotted.partition(".")
        if not rest:
            result[head] = value
            continue
        inner = result.get(head, {})
        if not isinstance(inner, Mapping):
            raise ConfigError(f"{dotted!r} reaches inside {head!r}, which is {inner!r} and has no keys")
        result[head] = with_overrides(inner, {rest: value})
    return result


def apply_overrides(config: ExperimentConfig, overrides: Mapping[str, Any]) -> ExperimentConfig:
    """The same experiment with some dotted keys replaced, checked again."""
    return build_config(with_overrides(config.model_dump(), _settled(overrides)))


def dump_config(config: ExperimentConfig, path: Path) -> None:
    """Write the whole configuration, defaults included, as YAML that :func:`load_config` reads; whole or not at all."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    write_atomic(path, text.encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; it must hold sections of settings")
    return values


def _settled(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides, and null for the other form of a target that they set: H* in nats, or as a fraction of log G."""
    unset = {_OTHER_FORM[key]: None for key, value in overrides.items() if key in _OTHER_FORM and value is not None}
    return {**unset, **overrides}


def _parse(item: str) -> tuple[str, Any]:
    key, equals, value = item.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {item!r} is not of the form section.key=value, as in train.steps=60")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"override {item!r}: the value {value!r} is not valid YAML") from None


def _sentence(detail: ErrorDetails) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        valid = _valid_keys(detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), valid, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"unknown key {place!r}.{hint} Valid keys here: {', '.join(valid)}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{place} is {detail['input']!r}: {message}" if place and detail["type"] != "value_error" else message


def _valid_keys(place: Sequence[int | str]) -> list[str]:
    """Keys of the section that a location points to."""
    section: type[BaseModel] = ExperimentConfig
    candidates: dict[str, type[BaseModel]] = {}
    for part in place:
        if part in section.model_fields:
            candidates = _models(section.model_fields[str(part)].annotation)
        elif part in candidates:  # the tag of a union's member
            candidates = {str(part): candidates[str(part)]}
        if len(candidates) == 1:
            (section,) = candidates.values()
    return sorted(section.model_fields)


def _models(annotation: Any) -> dict[str, type[BaseModel]]:
    """Sections that an annotation allows, however deep, by the tag that marks them in a location (else by name)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        tag = annotation.model_fields.get("type")
        return {str(tag.default) if tag is not None else annotation.__name__: annotation}
    return {tag: model for part in typing.get_args(annotation) for tag, model in _models(part).items()}
