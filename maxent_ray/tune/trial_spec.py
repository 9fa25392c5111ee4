"""Specification of one trial: its name, its objective, its values, and the experiment that they make.

A trial's settings travel in Ray Tune's ``trial.config`` and nowhere else; checkpoints hold state only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from maxent_ray.config import Choice, ExperimentConfig
from maxent_ray.config.loading import apply_overrides, build_config
from maxent_ray.core.controller import Controller
from maxent_ray.errors import ConfigError
from maxent_ray.report.labels import FIXED, GRPO, REFERENCES, WARM_START
from maxent_ray.tune.member import FlatMember
from maxent_ray.tune.search_space import SearchSpace, setting

REFERENCE_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    WARM_START: {"controller.objective": None},
    GRPO: {"controller.objective": None, "weighting.type": "grpo", "controller.beta": 0.0},
    FIXED: {"controller.objective": None},
}
"""Reference → the settings that set it apart."""


@dataclass(frozen=True)
class TrialSpec(FlatMember):
    """One trial; its objective is a method of the controller, or ``warm_start``, ``grpo`` or ``fixed``."""

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
        values = {name: value for name, value in self.values.items() if not _is_replaced(name, own)}
        return {**values, **own}

    @property
    def reported_settings(self) -> dict[str, Any]:
        """Settings that set this trial apart: its searched values, or those of a reference."""
        return dict(REFERENCE_SETTINGS[self.objective] if self.is_reference else self.values)

    def check(self) -> None:
        """Check that the values make a valid configuration.

        Raises:
            ConfigError: they do not.
        """
        self.experiment()


class RunSize(NamedTuple):
    """Trials of a run, and the policy steps that they have together if none is stopped early."""

    trials: int
    steps: int


def _is_replaced(name: str, own: Mapping[str, Any]) -> bool:
    """True for a searched setting of the weighting where a reference has a weighting of its own."""
    return "weighting.type" in own and name.startswith("weighting.")


def objective_settings(objective: str) -> dict[str, Any]:
    """Settings that choose an objective by its type, by a plug-in's name or by its import path.

    Truncated backprop does not fall back on analytic gradients: a run is what its label says.
    """
    chosen = {"controller.objective.type": objective}
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
    return [TrialSpec(objective, objective, settings, values) for objective in REFERENCE_SETTINGS]
