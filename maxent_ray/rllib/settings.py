"""Settings that travel to the learners as plain values, in ``learner_config_dict``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.field_types import shown
from maxent_ray.errors import ConfigError

KEY = "maxent_ray"
"""Key of the settings in ``learner_config_dict``."""


@dataclass(frozen=True)
class Settings:
    """Settings of an algorithm's controllers, ready for JSON.

    Example:
        >>> Settings("ppo", controller={"target_kl": 0.01}, modules={"p1": {"target_kl": 0.02}}).of_module("p1")
        {'target_kl': 0.02}
    """

    run_id: str
    """Names the run in logs, metrics and the actors' names."""
    local: bool | None = None
    """True: decide in learner 0's process; False: in a Ray actor; None: in its process if that is the driver's."""
    controller: Mapping[str, Any] = field(default_factory=dict)
    """Fields of :class:`~maxent_ray.core.config.ControllerConfig`, of all modules."""
    modules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Module id → the fields in which it differs."""
    inner_loop: bool = True
    """Follow KL within an update, too (PPO)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, settings of objectives and rules too."""
        return asdict(self)

    def of_module(self, module_id: str) -> dict[str, Any]:
        """Fields of one module's controller."""
        return {**self.controller, **self.modules.get(module_id, {})}

    @classmethod
    def of_config(cls, config: AlgorithmConfig) -> Settings:
        """Read the settings of an algorithm.

        Raises:
            ConfigError: it has none.
        """
        values = config.learner_config_dict.get(KEY)
        if values is None:
            raise ConfigError(
                f"learner_config_dict has no {KEY!r}, which {config.learner_class.__name__} reads its targets from; "
                "pass the config through maxent_ray.rllib.control()"
            )
        return cls(**values)


def check_fields(values: object, where: str) -> None:
    """Raise ConfigError for a name that is no field of a controller's settings, or one that no policy has.

    Example:
        >>> check_fields({"target_kll": 0.1}, "control()")
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: control(): 'target_kll' is no setting of ControllerConfig; valid: ...
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} is {shown(values)}; it must be a mapping of settings")
    names = [name for name in ControllerConfig.__dataclass_fields__ if name not in _OF_GROUPS]
    for name in values:
        if name in _OF_GROUPS:
            why = "environments have no groups of answers, and the algorithm decides which entropy and KL there are"
            raise ConfigError(f"{where}: {name} cannot be set: {why}; valid: {', '.join(names)}")
        if name not in names:
            raise ConfigError(f"{where}: {shown(name)} is no setting of ControllerConfig; valid: {', '.join(names)}")


_OF_GROUPS = ("group_size", "entropy_signal", "kl_signal", "target_entropy_fraction", "target_entropy_final_fraction")
"""Settings for groups of answers, or that follow from the algorithm."""
