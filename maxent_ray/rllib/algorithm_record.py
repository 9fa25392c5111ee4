"""Settings of an algorithm as a run's ``config.yaml`` has them: plain values that are not RLlib's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from maxent_ray.config import AlgorithmSettings
from maxent_ray.report.labels import FIXED, RLLIB
from maxent_ray.rllib.settings import KEY, Settings

_LEFT_OUT = ("callbacks", "class", "env", "learner_config_dict", "seed", "simple_optimizer")
"""Settings that are recorded elsewhere, or follow from others."""


def algorithm_settings(config: AlgorithmConfig) -> AlgorithmSettings:
    """Read the settings of an algorithm that are not its defaults.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> algorithm_settings(PPOConfig().environment("CartPole-v1").training(lr=1e-3)).settings
        {'lr': 0.001}
    """
    usual, own = type(config)().to_dict(), config.to_dict()
    changed = {name: value for name, value in own.items() if name not in _LEFT_OUT and value != usual.get(name)}
    return AlgorithmSettings(
        algorithm="" if config.algo_class is None else config.algo_class.__name__,
        environment=_plain(config.env) if config.env is not None else "",
        settings={name.lstrip("_"): _plain(value) for name, value in sorted(changed.items())},
    )


def module_objectives(config: AlgorithmConfig) -> dict[str, str]:
    """List the modules that are trained, each with its objective: ``fixed`` for none, ``rllib`` for RLlib's own rule.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> module_objectives(PPOConfig())
        {'default_policy': 'rllib'}
    """
    modules = trained_modules(config)
    if KEY not in config.learner_config_dict:
        return dict.fromkeys(modules, RLLIB)
    settings = Settings.of_config(config)
    return {module: _objective(settings.of_module(module)) for module in modules}


def config_of(algorithm: Algorithm) -> AlgorithmConfig:
    """Settings of an algorithm that was built."""
    assert algorithm.config is not None
    return algorithm.config


def trained_modules(config: AlgorithmConfig) -> list[str]:
    """Ids of the modules that are trained, in alphabetical order."""
    trained: Any = config.policies_to_train  # ids, or a function of an id
    named = [*config.policies]
    if trained is not None:
        named = [name for name in named if (trained(name, None) if callable(trained) else name in trained)]
    return sorted(named)


def own_kl_target(config: AlgorithmConfig) -> float | None:
    """KL* of RLlib's own rule (nats per timestep); None where it is off, or the algorithm has none.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> own_kl_target(PPOConfig())
        0.01
    """
    values = config.to_dict()
    return values["kl_target"] if KEY not in config.learner_config_dict and values.get("use_kl_loss") else None


def _objective(values: Mapping[str, Any]) -> str:
    """Name of a controller's objective in records."""
    objective = values.get("objective", {"type": "analytic"})
    if objective is None:
        return FIXED
    return str(objective.get("import_path") or objective.get("name") or objective["type"])


def _plain(value: Any) -> Any:
    """The same value where JSON has it; a class by its import path, and any other object by that of its class."""
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    named = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}:{named.__qualname__}"
