"""From a YAML file, options and ``section.key=value`` overrides to a checked :class:`ExperimentConfig`."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from maxent_ray.config.domains import DEFAULT_SEARCH_SPACE
from maxent_ray.config.field_kinds import SEARCH_SPACE, is_section, kinds_at, path_of
from maxent_ray.config.fixed_settings import fix_settings
from maxent_ray.config.messages import by_place, place_of, refusal, unknown_key
from maxent_ray.config.old_spellings import check_spellings
from maxent_ray.config.reading import read_file, read_override, typed
from maxent_ray.config.section import Section
from maxent_ray.config.settings import CHECKED, ExperimentConfig
from maxent_ray.config.yaml_text import write_yaml
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.field_types import shown
from maxent_ray.core.objectives import TruncatedBackprop
from maxent_ray.core.unions import members
from maxent_ray.errors import ConfigError, UnknownObjectiveError
from maxent_ray.storage.atomic import write_atomic

DEFAULT_TYPES = {
    next(iter(choices))
    for section in (ControllerConfig, TruncatedBackprop)
    for choices in members(section).values()
    if len(choices) > 1
}
"""Types of sections that name none."""
_MODEL = {"policy", "policy.model"}
"""Keys that may set a path, which then means the place where it was typed."""
_OTHER_FORM = {
    "controller.target_entropy": "controller.target_entropy_fraction",
    "controller.target_entropy_fraction": "controller.target_entropy",
    "controller.target_entropy_final": "controller.target_entropy_final_fraction",
    "controller.target_entropy_final_fraction": "controller.target_entropy_final",
}


def load_config(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    *,
    checked: bool = False,
) -> ExperimentConfig:
    """Read a configuration. What options and overrides set is the same in every run: no search moves it.

    Args:
        path: A YAML file; None for the defaults.
        overrides: ``section.key=value`` strings; later ones win.
        options: Dotted key → value, which wins over the file and not over an override.
        checked: The file is the ``config.yaml`` of a result, and paths in it are not resolved again.

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown (the message names the valid ones) or a value
            is not of its field's type or out of range.

    Example:
        >>> config = load_config(overrides=["policy.model=runs/run #2", "grpo.learning_rate=1e-4"])
        >>> config.policy.model, config.grpo.learning_rate
        ('runs/run #2', 0.0001)
    """
    values = read_file(path) if path is not None else {}
    chosen = [(key, typed(value, path_of(key))) for key, value in (options or {}).items()]
    given = dict(pair for item in [*chosen, *map(read_override, overrides)] for pair in _settings(*item))
    settled = _settled(given)
    built = fix_settings(with_overrides(values, settled), settled)
    return build_config(built, checked=checked and not _MODEL & settled.keys())


def build_config(values: Mapping[str, Any], *, checked: bool = False) -> ExperimentConfig:
    """Check nested values and freeze them.

    Args:
        values: Section → its settings.
        checked: They are those of another :class:`ExperimentConfig`, and paths among them are not resolved again.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    check_spellings(values)
    try:
        return ExperimentConfig.model_validate(values, context=CHECKED if checked else None)
    except ValidationError as error:
        details = error.errors()
        causes = (detail.get("ctx", {}).get("error") for detail in details)
        kind = next((type(cause) for cause in causes if isinstance(cause, UnknownObjectiveError)), ConfigError)
        raise kind("\n".join(_sentence(*found) for found in by_place(details, values).items())) from None


def with_overrides(
    values: Mapping[str, Any], overrides: Mapping[str, Any], place: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A copy of nested ``values`` with dotted keys replaced, outer ones first.

    Another ``type`` of a section starts from that type's defaults; a section without one has the default type.

    Args:
        values: Section → its settings.
        overrides: Dotted key → value.
        place: Where the values are in the settings, if not at the top.

    Example:
        >>> with_overrides({"a": {"b": 1, "c": 2}}, {"a.b": 3})
        {'a': {'b': 3, 'c': 2}}
        >>> with_overrides({"rule": {"type": "pi", "proportional_gain": 2}}, {"rule.type": "adam", "rule.clip": 1})
        {'rule': {'type': 'adam', 'clip': 1}}
    """
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for dotted, value in sorted(overrides.items(), key=lambda item: _depth(item[0])):
        head, _, rest = (dotted, "", "") if place == SEARCH_SPACE else dotted.partition(".")
        if not rest:
            chooses = head == "type" and Any not in kinds_at((*place, head))
            result = _with_type(result, value) if chooses else {**result, head: value}
            continue
        usual = DEFAULT_SEARCH_SPACE if (*place, head) == SEARCH_SPACE else {}
        inner = usual if result.get(head) is None else result[head]
        if not isinstance(inner, Mapping):
            raise ConfigError(f"{dotted!r} reaches inside {head!r}, which is {shown(inner)} and has no keys")
        result[head] = with_overrides(inner, {rest: value}, (*place, head))
    return result


def _settings(dotted: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of the settings that an override gives: a mapping for a section means its keys."""
    if not (isinstance(value, Mapping) and is_section(path_of(dotted))):
        yield dotted, value
        return
    for key, inner in value.items():
        if "." in key:
            raise ConfigError(f"{dotted} has the key {key!r}; write {dotted}.{key} as an override of its own")
        yield from _settings(f"{dotted}.{key}", inner)


def _depth(dotted: str) -> tuple[int, bool]:
    """Sort key: outer keys first, and a ``type`` before the settings beside it."""
    place = dotted.removesuffix(".type")
    return place.count("."), place != dotted


def _with_type(values: Mapping[str, Any], chosen: Any) -> dict[str, Any]:
    """The same settings where they are of that type, by its name or import path too; else that type's defaults."""
    own = (values.get("type"), values.get("name"), values.get("import_path"))
    if chosen in own and values.get("type") is not None:
        return dict(values)
    is_default = "type" not in values and chosen in DEFAULT_TYPES
    return {**values, "type": chosen} if is_default else {"type": chosen}


def apply_overrides(config: ExperimentConfig, overrides: Mapping[str, Any]) -> ExperimentConfig:
    """The same experiment with some dotted keys replaced, checked again."""
    values = with_overrides(config.model_dump(), _settled(overrides))
    return build_config(values, checked=not _MODEL & overrides.keys())


def dump_config(config: Section, path: Path) -> None:
    """Write the whole configuration, defaults included, as YAML, whole or not at all."""
    write_atomic(path, write_yaml(config.model_dump(mode="json")))


def _settled(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides, and null for the other form of a target that they set: H* in nats, or as a fraction of log G."""
    unset = {_OTHER_FORM[key]: None for key, value in overrides.items() if key in _OTHER_FORM and value is not None}
    return {**unset, **overrides}


def _sentence(path: tuple[str | int, ...], details: Sequence[ErrorDetails]) -> str:
    place, detail = place_of(path), details[0]
    if detail["type"] == "extra_forbidden":
        below = "; in a file, settings stand below their section, as train: {steps: 60}"
        hint = below if "." in str(detail["loc"][-1]) else ""
        return unknown_key(place, _valid_keys(detail["loc"][:-1])) + hint
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    return refusal(place, details)


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
