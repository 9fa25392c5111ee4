"""Settings of a command line that a search would move: they are those of every run, and leave the search space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maxent_ray.config.domains import DEFAULT_SEARCH_SPACE
from maxent_ray.config.old_spellings import dotted_keys
from maxent_ray.config.weighting_section import WEIGHTINGS
from maxent_ray.errors import ConfigError

_SPACE = "tune.search_space"


def fix_settings(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Take what a command line sets out of the search space, the default one or a file's.

    Args:
        values: Section → its settings.
        given: Dotted key → value, from options and overrides.

    Raises:
        ConfigError: the command line sets a key and has it searched over, or sets a part of a value that is searched
            over as a whole.

    Example:
        >>> sorted(fix_settings({}, {"controller.target_kl": 0.1})["tune"]["search_space"])[-2:]
        ['controller.tau_rule.learning_rate', 'controller.update_interval']
    """
    tune = values.get("tune") or {}
    if not isinstance(tune, Mapping):
        return dict(values)  # refused when it is read
    usual = _usual_space(values)
    space = tune.get("search_space", usual)
    if not isinstance(space, Mapping):
        return dict(values)
    names = dotted_keys({key: value for key, value in given.items() if not key.startswith(_SPACE)})
    for name in names:
        for whole in space:
            if name.startswith(f"{whole}."):
                replaced = f"{_SPACE} has {whole}, whose values would replace it"
                raise ConfigError(f"{name} is set, but {replaced}; write it into those values, or take {whole} out")
    fixed = [key for key in space if key in names]
    for key in fixed:
        if _SPACE in given or f"{_SPACE}.{key}" in given:
            raise ConfigError(f"{key} is set and is also in {_SPACE}; give one of the two")
    kept = {key: domain for key, domain in space.items() if key not in fixed}
    is_default = kept == DEFAULT_SEARCH_SPACE or (not fixed and "search_space" in tune)
    return dict(values) if is_default else {**values, "tune": {**tune, "search_space": kept}}


def _usual_space(values: Mapping[str, Any]) -> dict[str, Any]:
    """The default search space; without a target of the weights' entropy where answers have no weights."""
    weighting, controller = values.get("weighting"), values.get("controller")
    chosen = weighting.get("type") if isinstance(weighting, Mapping) else None
    settings: Any = WEIGHTINGS.get(chosen) if isinstance(chosen, str) else None
    if settings is None or settings.has_weights:
        return DEFAULT_SEARCH_SPACE
    has_target = isinstance(controller, Mapping) and controller.get("target_entropy") is not None
    useless = {"controller.target_entropy_fraction", *(() if has_target else ("controller.tau_rule.learning_rate",))}
    return {key: domain for key, domain in DEFAULT_SEARCH_SPACE.items() if key not in useless}
