"""Search space of a population: dotted keys of the configuration with their domains, validated when it is built.

Drawing and perturbing take a numpy ``Generator``, so that the same seed gives the same values; Ray Tune's own
sampling reads global generators and is not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ray import tune

from maxent_ray.config import Choice, Domain, ExperimentConfig, LogUniform
from maxent_ray.config.field_kinds import kinds_at
from maxent_ray.config.loading import apply_overrides
from maxent_ray.core.controller import Controller
from maxent_ray.errors import ConfigError

PERTURBATION_FACTORS = (0.8, 1.2)
"""Jaderberg et al. 2017, "Population Based Training of Neural Networks", section 4."""
SEARCHED_SECTIONS = {
    "controller": "controller.target_kl",
    "grpo": "grpo.learning_rate",
    "weighting": "weighting.q_temperature",
}
"""Section → a key of it, for messages."""
_SECTIONS = "controller, grpo and weighting"
EXCLUDED_KEYS = (
    "grpo.group_size",  # scores over groups of different size cannot be compared
    "controller.group_size",
    "controller.weighting",
    "controller.objective",
    "controller.objective.type",  # the objective is the stratum, not a setting of it
    "weighting.type",
)


@dataclass(frozen=True)
class SearchKey:
    """One dotted key and where its values come from."""

    name: str
    domain: Domain
    integer: bool
    """The setting is an integer: drawn and perturbed values are rounded."""

    def draw(self, rng: np.random.Generator) -> Any:
        """Draw a value of the domain."""
        if isinstance(self.domain, Choice):
            return self.domain.values[int(rng.integers(len(self.domain.values)))]
        low, high = self.domain.low, self.domain.high
        if isinstance(self.domain, LogUniform):
            return self.clamp(math.exp(rng.uniform(math.log(low), math.log(high))))
        return self.clamp(float(rng.uniform(low, high)))

    def clamp(self, value: Any) -> Any:
        """Find the nearest value of the domain.

        Raises:
            ConfigError: the domain is one of numbers and the value is none, or it is a choice without numbers and
                does not hold the value.
        """
        if isinstance(self.domain, Choice):
            return value if value in self.domain.values else self._nearest(value, self.domain.values)
        low, high = self.domain.low, self.domain.high
        if not _is_number(value):
            raise ConfigError(f"{self.name} is {value!r}; it must be a number, and is searched in [{low}, {high}]")
        nearest = float(min(max(value, low), high))
        return round(nearest) if self.integer else nearest

    def grid(self, points: int) -> list[Any]:
        """List all values of a choice; ``points`` of an interval, evenly spaced (in log space for log-uniform)."""
        if isinstance(self.domain, Choice):
            return list(self.domain.values)
        low, high = self.domain.low, self.domain.high
        spaced = np.geomspace if isinstance(self.domain, LogUniform) else np.linspace
        values = [self.clamp(value) for value in spaced(low, high, points)]
        return list(dict.fromkeys(values))

    def _nearest(self, value: Any, values: Sequence[Any]) -> Any:
        numbers = [number for number in values if _is_number(number)]
        if not numbers or not _is_number(value):
            raise ConfigError(f"{self.name} is {value!r}; valid: {', '.join(map(str, values))}")
        return min(numbers, key=lambda number: abs(number - value))


class Exploration(NamedTuple):
    """Perturbed values, and the operation on each."""

    values: dict[str, Any]
    operations: dict[str, str]


@dataclass(frozen=True)
class SearchSpace:
    """All keys of a search, in alphabetical order."""

    keys: tuple[SearchKey, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The dotted keys."""
        return tuple(key.name for key in self.keys)

    def only(self, names: Sequence[str]) -> SearchSpace:
        """Select the part of the space with these keys.

        Raises:
            ConfigError: a name is not in the space.
        """
        for name in names:
            if name not in self.names:
                raise ConfigError(f"{name!r} is not searched over; the search space has: {', '.join(self.names)}")
        return SearchSpace(tuple(key for key in self.keys if key.name in names))

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a value for each key."""
        return {key.name: key.draw(rng) for key in self.keys}

    def clamp(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """``values`` with every key of this space brought inside its domain."""
        return {**values, **{key.name: key.clamp(values[key.name]) for key in self.keys}}

    def explore(self, values: Mapping[str, Any], rng: np.random.Generator, resample_probability: float) -> Exploration:
        """Perturb every key: resampled, or moved (intervals: × 0.8 or × 1.2; choices: to a neighbour).

        Args:
            values: One value for each key of the space.
            rng: Source of randomness.
            resample_probability: Probability that a key is resampled.

        Returns:
            Values inside their domains.

        Source: Jaderberg et al. 2017, "Population Based Training of Neural Networks", section 3.
        """
        new, operations = {}, {}
        for key in self.keys:
            if rng.random() < resample_probability:
                new[key.name], operations[key.name] = key.draw(rng), "resample"
            else:
                new[key.name], operations[key.name] = _perturb(key, values[key.name], rng)
        return Exploration(new, operations)

    def grid(self, points: int) -> list[dict[str, Any]]:
        """The Cartesian product of every key's :meth:`SearchKey.grid`; the last key varies fastest."""
        combinations: list[dict[str, Any]] = [{}]
        for key in self.keys:
            combinations = [{**c, key.name: value} for c in combinations for value in key.grid(points)]
        return combinations


def build_search_space(config: ExperimentConfig) -> SearchSpace:
    """Build the search space of an experiment, each key tried at both ends of its domain (choices: every value).

    Raises:
        ConfigError: a key is no setting, is one that must not differ inside a population, or a value of its
            domain makes an invalid configuration; the message names it.

    Example:
        >>> build_search_space(ExperimentConfig()).names[-1]
        'controller.update_interval'
    """
    space = SearchSpace(tuple(_search_key(config, name) for name in sorted(config.tune.search_space)))
    _check_together(config, space)
    return space


def ray_domains(space: SearchSpace) -> dict[str, Any]:
    """Convert the space to Ray Tune's domains."""
    return {key.name: _ray_domain(key.domain) for key in space.keys}


def _search_key(config: ExperimentConfig, name: str) -> SearchKey:
    _check_is_searchable(name)
    domain = config.tune.search_space[name]
    if isinstance(domain, Choice):
        domain = Choice(values=tuple(_checked(config, name, value) for value in domain.values))
    else:
        for value in (domain.low, domain.high):
            _checked(config, name, value)
    kinds = kinds_at(tuple(name.split(".")))
    return SearchKey(name, domain, integer=int in kinds and float not in kinds)


def _check_is_searchable(name: str) -> None:
    """Refuse a key outside the searched sections, an excluded one, and a section that holds one."""
    is_excluded = any(f"{key}.".startswith(f"{name}.") for key in EXCLUDED_KEYS)
    if name.partition(".")[0] in SEARCHED_SECTIONS and not is_excluded:
        return
    example = SEARCHED_SECTIONS.get(name)
    whole = f"; name the searched keys of the section one by one, as {example}" if example else ""
    raise ConfigError(
        f"tune.search_space has {name!r}; a search runs over keys of {_SECTIONS}, "
        f"except {', '.join(EXCLUDED_KEYS)}{whole}"
    )


def _checked(config: ExperimentConfig, name: str, value: Any) -> Any:
    """Try one value of a key; returns it as the setting holds it, which for a number may be of another type."""
    try:
        changed = apply_overrides(config, {name: value})
        Controller(changed.controller_config())
    except ConfigError as error:
        raise ConfigError(f"tune.search_space[{name!r}] reaches {value!r}: {error}") from None
    return setting(changed, name) if _is_number(value) else value


def setting(config: ExperimentConfig, name: str) -> Any:
    """Find the value of a dotted key; None inside a section that is null, such as a rule that is left to its default.

    Example:
        >>> setting(ExperimentConfig(), "grpo.group_size"), setting(ExperimentConfig(), "controller.tau_rule.clip")
        (8, None)
    """
    found: Any = config.model_dump()
    for part in name.split("."):
        found = None if found is None else found[part]
    return found


def _check_together(config: ExperimentConfig, space: SearchSpace) -> None:
    """Try every choice with one value of all other keys: a setting that not every searched rule has is found here."""
    usual = {key.name: key.grid(1)[0] for key in space.keys}
    for key in space.keys:
        for value in key.grid(1):
            try:
                apply_overrides(config, {**usual, key.name: value})
            except ConfigError as error:
                keys = ", ".join(map(repr, space.names))
                raise ConfigError(f"tune.search_space has {keys}; together with {value!r}: {error}") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # nan does not


def _perturb(key: SearchKey, value: Any, rng: np.random.Generator) -> tuple[Any, str]:
    if isinstance(key.domain, Choice):
        shift = int(rng.choice((-1, 1)))
        last = len(key.domain.values) - 1
        index = min(max(key.domain.values.index(key.clamp(value)) + shift, 0), last)
        return key.domain.values[index], "shift left" if shift < 0 else "shift right"
    factor = float(rng.choice(PERTURBATION_FACTORS))
    return key.clamp(value * factor), f"* {factor}"


def _ray_domain(domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return list(domain.values)
    build: Callable[[float, float], Any] = tune.loguniform if isinstance(domain, LogUniform) else tune.uniform
    return build(domain.low, domain.high)


__all__ = [
    "Exploration",
    "SearchKey",
    "SearchSpace",
    "build_search_space",
    "ray_domains",
    "setting",
]
