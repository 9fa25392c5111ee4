"""Specification of one trial: its name, its objective, its values, and the experiment that they make.

A trial's settings travel in Ray Tune's ``trial.config`` and nowhere else; checkpoints hold state only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from maxent_ray.config import Choice, ExperimentConfig
from maxent_ray.config.loading import apply_overrides, build_config
from maxent_ray.core.controller import Controller
from maxent_ray.errors import ConfigError
from maxent_ray.report.labels import FIXED, GRPO, REFERENCES, WARM_START
from maxent_ray.tune.search_space import SearchSpace, setting

_FIELDS = ("trial", "objective", "segment", "round", "settings")
_JSON = ("{", '"')
"""Beginnings of values that travel as JSON."""
REFERENCE_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    WARM_START: {"controller.objective": None},
    GRPO: {"controller.objective": None, "grpo.train_grpo_objective": True, "controller.beta": 0.0},
    FIXED: {"controller.objective": None, "grpo.train_grpo_objective": False},
}
"""Reference → the settings that set it apart."""


@dataclass(frozen=True)
class TrialSpec:
    """One trial."""

    trial: str
    """Short stable name, such as ``analytic-0``; a clone keeps the recipient's."""
    objective: str
    """A method of the controller, or one of the references ``warm_start``, ``grpo`` and ``fixed``."""
    settings: str
    """The experiment that all trials share, as JSON."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key → this trial's value."""
    segment: int = 0
    """Clones received so far."""
    round: int = 0
    """Perturbations that this trial's population has gone through."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> TrialSpec:
        """Read ``trial.config`` back."""
        values = {key: _decoded(value) for key, value in config.items() if key not in _FIELDS}
        return cls(values=values, **{key: config[key] for key in _FIELDS})

    def to_config(self) -> dict[str, Any]:
        """Convert to a flat ``trial.config``: Tune would search inside a mapping, so one travels as JSON."""
        values = {key: _encoded(value) for key, value in self.values.items()}
        return {**{key: self.__dict__[key] for key in _FIELDS}, **values}

    @property
    def is_reference(self) -> bool:
        """True for a reference, which objectives are compared with."""
        return self.objective in REFERENCES

    @property
    def steps(self) -> int:
        """Policy steps in all."""
        return 0 if self.objective == WARM_START else self.experiment().train.steps

    def experiment(self) -> ExperimentConfig:
        """Build the configuration of this trial.

        Truncated backprop never falls back on analytic gradients here, so that the label is true.

        Raises:
            ConfigError: the values do not make a valid configuration.
        """
        try:
            return apply_overrides(build_config(json.loads(self.settings), checked=True), self.overrides)
        except ConfigError as error:
            raise ConfigError(f"trial {self.trial} ({dict(self.values)}): {error}") from None

    @property
    def overrides(self) -> dict[str, Any]:
        """All settings in which it differs from the run's, those of its objective included."""
        own = REFERENCE_SETTINGS[self.objective] if self.is_reference else objective_settings(self.objective)
        return {**self.values, **own}

    @property
    def reported_settings(self) -> dict[str, Any]:
        """Settings that set this trial apart: its searched values, or those of a reference."""
        return dict(REFERENCE_SETTINGS[self.objective] if self.is_reference else self.values)

    def cloned_from(self, donor: TrialSpec, values: Mapping[str, Any]) -> TrialSpec:
        """Take over a donor's objective, with perturbed values."""
        return replace(self, objective=donor.objective, values=dict(values), segment=self.segment + 1)


class RunSize(NamedTuple):
    """Trials of a run, and the policy steps that they have together if none is stopped early."""

    trials: int
    steps: int


def _encoded(value: Any) -> Any:
    """A mapping as JSON, and with it every text that would be taken for JSON."""
    is_like_json = isinstance(value, str) and value.startswith(_JSON)
    return json.dumps(value) if isinstance(value, Mapping) or is_like_json else value


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith(_JSON) else value


def objective_settings(objective: str) -> dict[str, Any]:
    """Settings that choose an objective by its type, by a plug-in's name or by its import path.

    Truncated backprop does not fall back on analytic gradients: a run is what its label says.
    """
    chosen = {"controller.objective.type": objective, "grpo.train_grpo_objective": False}
    return {**chosen, "controller.objective.fallback": None} if objective == "truncated_backprop" else chosen


def settings_json(config: ExperimentConfig) -> str:
    """Serialise the settings that all trials share."""
    return config.model_dump_json()


def population(config: ExperimentConfig, space: SearchSpace) -> list[TrialSpec]:
    """Make the trials of a comparison, ``trials_per_objective`` of each objective.

    The i-th trials of all objectives start from the same values, drawn from ``train.seed`` and i.

    Raises:
        ConfigError: an objective is unknown, named twice, or the values make an invalid configuration.
    """
    draws = [
        space.draw(np.random.default_rng((config.train.seed, index)))
        for index in range(config.tune.trials_per_objective)
    ]
    specs = variants(config, draws)
    for spec in specs[: len(config.tune.objectives)]:
        _check_choices(spec, space)
    return specs


def _check_choices(spec: TrialSpec, space: SearchSpace) -> None:
    """Try every choice with one trial's objective, which a perturbation may reach later."""
    for key in space.keys:
        for value in key.grid(1) if isinstance(key.domain, Choice) else ():
            replace(spec, values={**spec.values, key.name: value}).experiment()


def variants(config: ExperimentConfig, points: list[dict[str, Any]], *, first: int = 0) -> list[TrialSpec]:
    """Make a trial of every objective at every point of a search space; ``first`` is the number of the first point.

    Raises:
        ConfigError: as :func:`population`.
    """
    objectives = config.tune.objectives
    if len(set(objectives)) < len(objectives):
        raise ConfigError(f"tune.objectives is {', '.join(objectives)}; it must name each objective once")
    settings = settings_json(config)
    specs = [
        TrialSpec(f"{objective}-{index}", objective, settings, values)
        for index, values in enumerate(points, first)
        for objective in objectives
    ]
    for objective in {*objectives} & {"custom", *REFERENCES}:
        valid = "name an own objective by its import path or entry point; references are added by tune.references"
        raise ConfigError(f"tune.objectives has {objective!r}; {valid}")
    for spec in specs:
        Controller(spec.experiment().controller_config())  # imports objectives and rules of the user's own
    return specs


def references(config: ExperimentConfig, space: SearchSpace) -> list[TrialSpec]:
    """Make the warm start, plain GRPO (β = 0) and fixed τ and β, with the settings of ``config`` itself."""
    values = {name: setting(config, name) for name in space.names}
    settings = settings_json(config)
    return [TrialSpec(objective, objective, settings, values) for objective in REFERENCES]
