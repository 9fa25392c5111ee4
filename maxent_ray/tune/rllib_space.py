"""Search space of a population over RLlib: dotted keys of ``control``'s arguments and of RLlib's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maxent_ray.config import Choice
from maxent_ray.config.field_kinds import kinds_at
from maxent_ray.errors import ConfigError
from maxent_ray.tune.rllib_member import ALGORITHM, CONTROLLER, RLlibMember, own_key
from maxent_ray.tune.search_space import SearchKey, SearchSpace

_EXCLUDED = ("controller.objective", "controller.run_id", "controller.results", "controller.modules")
"""The objective is the stratum; the others name one run."""


def rllib_search_space(member: RLlibMember) -> SearchSpace:
    """Build the search space of a population, each key tried at both ends of its domain (choices: every value).

    Args:
        member: Any trial, with no values of its own.

    Raises:
        ConfigError: a key is no setting, or a value of its domain makes an invalid one; the message names it.
    """
    searched = member.experiment.tune.search_space
    if not searched:
        raise ConfigError(
            "search_space is empty; give it keys to perturb, such as 'controller.target_kl' or 'rllib.lr', with their "
            "domains"
        )
    keys = tuple(_search_key(member, name) for name in sorted(searched))
    usual = {key.name: key.grid(1)[0] for key in keys}
    member.with_values(usual).check()
    for key in keys:
        for value in key.grid(2):
            _check(member, {**usual, key.name: value}, key.name, value)
    return SearchSpace(keys)


def setting_of(member: RLlibMember, name: str) -> Any:
    """Value that a key has without a search; None for an argument of ``control`` that is not given."""
    if name.startswith(ALGORITHM):
        return _own(member, name)
    found: Any = member.experiment.controller
    for part in name.removeprefix(CONTROLLER).split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _search_key(member: RLlibMember, name: str) -> SearchKey:
    domain = member.experiment.tune.search_space[name]
    if any(f"{name}.".startswith(f"{key}.") or name.startswith(f"{key}.") for key in _EXCLUDED):
        raise ConfigError(f"search_space has {name!r}; leave it out: {', '.join(_EXCLUDED)} are not searched over")
    if name.startswith(CONTROLLER):
        kinds = kinds_at(tuple(name.split(".")))
        return SearchKey(name, domain, integer=int in kinds and float not in kinds)
    if not name.startswith(ALGORITHM):
        raise ConfigError(
            f"search_space has {name!r}, which is neither an argument of control(), as 'controller.target_kl', nor a "
            "setting of RLlib's, as 'rllib.lr'"
        )
    is_whole = isinstance(_own(member, name), int) and not isinstance(domain, Choice)
    return SearchKey(name, domain, integer=is_whole)


def _own(member: RLlibMember, name: str) -> Any:
    """Value of the algorithm that all trials share."""
    assert member.base is not None
    return member.base.to_dict()[own_key(member.base, name.removeprefix(ALGORITHM))]


def _check(member: RLlibMember, values: Mapping[str, Any], name: str, value: Any) -> None:
    try:
        member.with_values(values).check()
    except ConfigError as error:
        raise ConfigError(f"search_space[{name!r}] reaches {value!r}: {error}") from None
