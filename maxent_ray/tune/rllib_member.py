"""One trial of a population over an algorithm of RLlib: its values, and the algorithm's config that they make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from maxent_ray.config import RLlibConfig, with_overrides
from maxent_ray.core.objectives import TruncatedBackprop
from maxent_ray.errors import ConfigError
from maxent_ray.report.labels import FIXED, RLLIB
from maxent_ray.rllib import control
from maxent_ray.rllib.algorithm_record import trained_modules
from maxent_ray.rllib.result_rows import record_names
from maxent_ray.tune.member import FlatMember, ReadMember

RLLIB_REFERENCE_SETTINGS: Mapping[str, Mapping[str, Any]] = {RLLIB: {}, FIXED: {"controller.objective": None}}
"""Reference → the settings that set it apart: RLlib's own rule and schedules, and both coefficients fixed."""
CONTROLLER, ALGORITHM = "controller.", "rllib."
"""Beginnings of keys: of ``control``'s arguments, and of RLlib's settings."""


@dataclass(frozen=True)
class RLlibMember(FlatMember):
    """One trial; its objective is a method of the controller, or ``rllib`` or ``fixed``."""

    base: AlgorithmConfig | None = field(default=None, compare=False, repr=False)
    """The algorithm that all trials share; it does not travel in ``trial.config``."""

    @classmethod
    def reader(cls, base: AlgorithmConfig) -> ReadMember:
        """Reader of ``trial.config`` for the trials of an algorithm."""
        return lambda config: replace(cls.from_config(config), base=base)

    @property
    def is_reference(self) -> bool:
        """True for a reference, which objectives are compared with."""
        return self.objective in RLLIB_REFERENCE_SETTINGS

    @property
    def experiment(self) -> RLlibConfig:
        """Settings of the whole population."""
        return RLlibConfig.model_validate(json.loads(self.settings))

    @property
    def steps(self) -> int:
        """Training iterations in all."""
        return self.experiment.train.steps or 0

    @property
    def names(self) -> Sequence[str]:
        """Names that it has in the records, one for each module."""
        assert self.base is not None
        return record_names(self.trial, trained_modules(self.base))

    @property
    def reported_settings(self) -> Mapping[str, Any]:
        """Settings that set this trial apart: its searched values, or those of a reference."""
        return dict(RLLIB_REFERENCE_SETTINGS[self.objective] if self.is_reference else self.values)

    @property
    def overrides(self) -> Mapping[str, Any]:
        """All settings in which it differs from the run's, those of its objective included."""
        own = {"controller.objective.type": self.objective}
        return {**self.values, **RLLIB_REFERENCE_SETTINGS.get(self.objective, own)}

    def with_values(self, values: Mapping[str, Any]) -> RLlibMember:
        """The same trial with other values."""
        return replace(self, values=values)

    def check(self) -> None:
        """Check that the values make a valid algorithm.

        Raises:
            ConfigError: they do not.
        """
        self.algorithm(self.trial)

    def algorithm(self, run_id: str) -> AlgorithmConfig:
        """Build the config of this trial's algorithm.

        Args:
            run_id: Of its controllers; never used twice.

        Raises:
            ConfigError: the values do not make a valid one.
        """
        assert self.base is not None
        config: AlgorithmConfig = self.base.copy(copy_frozen=False)
        try:
            config.update_from_dict(
                {own_key(config, name): value for name, value in _below(ALGORITHM, self.values).items()}
            )
            arguments = with_overrides(self.experiment.controller, _below(CONTROLLER, self.values), ("controller",))
            if self.objective == RLLIB:
                return _with_target(config, arguments.get("target_kl"))
            return control(config, run_id=run_id, **{**arguments, "objective": _objective(self.objective)})
        except (ConfigError, ValueError, TypeError) as error:
            raise ConfigError(f"trial {self.trial} ({dict(self.values)}): {error}") from None


def own_key(config: AlgorithmConfig, name: str) -> str:
    """Key of an algorithm's setting among its own; some that are set without an underscore are held with one.

    Raises:
        ConfigError: it has no such setting.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> own_key(PPOConfig(), "lr"), own_key(PPOConfig(), "train_batch_size_per_learner")
        ('lr', '_train_batch_size_per_learner')
    """
    held = config.to_dict()
    found = next((key for key in (name, f"_{name}") if key in held), None)
    if found is None:
        raise ConfigError(f"{ALGORITHM}{name} is no setting of {type(config).__name__}; one is {ALGORITHM}lr")
    return found


def _objective(name: str) -> Any:
    """Objective of a trial; truncated backprop never falls back on analytic gradients, so that the label is true."""
    if name == FIXED:
        return None
    return TruncatedBackprop(fallback=None) if name == "truncated_backprop" else name


def _with_target(config: AlgorithmConfig, target_kl: Any) -> AlgorithmConfig:
    """Give RLlib's own rule the same KL*, where its algorithm has one."""
    if target_kl and "kl_target" in config.to_dict():
        config.update_from_dict({"kl_target": target_kl})
    return config


def _below(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(section): value for key, value in values.items() if key.startswith(section)}
