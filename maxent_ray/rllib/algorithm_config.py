"""One line that puts an algorithm's coefficients under control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from maxent_ray.core.field_types import shown
from maxent_ray.core.objectives.settings import ObjectiveSettings
from maxent_ray.core.update_rules.loop import Response
from maxent_ray.errors import ConfigError
from maxent_ray.rllib.action_spaces import action_spaces
from maxent_ray.rllib.appo import MaxEntAPPOTorchLearner
from maxent_ray.rllib.impala import MaxEntIMPALATorchLearner
from maxent_ray.rllib.learner import ControlledLearner
from maxent_ray.rllib.ppo import MaxEntPPOTorchLearner
from maxent_ray.rllib.recording import record
from maxent_ray.rllib.sac import MaxEntSACTorchLearner
from maxent_ray.rllib.settings import KEY, Settings, check_fields

AnyConfig = TypeVar("AnyConfig", bound=AlgorithmConfig)

LEARNERS: Mapping[str, type[ControlledLearner]] = {
    "PPO": MaxEntPPOTorchLearner,
    "APPO": MaxEntAPPOTorchLearner,
    "IMPALA": MaxEntIMPALATorchLearner,
    "SAC": MaxEntSACTorchLearner,
}
"""Algorithm → its learner with a controller."""


def control(
    config: AnyConfig,
    *,
    target_entropy: float | None = None,
    target_kl: float | None = None,
    objective: str | ObjectiveSettings | None = "analytic",
    response: Response | None = None,
    tau: float | None = None,
    beta: float | None = None,
    inner_loop: bool = True,
    run_id: str | None = None,
    local: bool | None = None,
    modules: Mapping[str, Mapping[str, Any]] | None = None,
    results: str | Path | None = None,
    **controller: Any,
) -> AnyConfig:
    """Put an algorithm's entropy and KL coefficients under control; RLlib's own rule and schedules are then off.

    Call it when the algorithm's other settings are made. A coefficient without a target stays where it starts.

    Args:
        config: Of PPO, APPO, IMPALA or SAC; it is changed in place.
        target_entropy: H* (nats per timestep); None: the entropy coefficient stays, and SAC's own target holds.
        target_kl: KL* (nats per timestep), of PPO to the policy that sampled, of APPO to the target network.
        objective: ``analytic``, ``truncated_backprop`` (PPO), or an objective's settings; None: both stay.
        response: Time in which entropy and KL answer to their coefficients: ``fast``, ``slow``, or found (``auto``);
            None: ``auto``, and for SAC's α a rule of its own, for many small updates.
        tau: Start of the entropy coefficient (SAC: of α); None: ``entropy_coeff`` (``initial_alpha``), if it is not 0.
        beta: Start of the KL coefficient; None: ``kl_coeff``, if it is not 0.
        inner_loop: Let β follow KL within an update too, between minibatch steps (PPO); False: once an update only.
        run_id: Names the run in logs and metrics; None: the algorithm.
        local: Decide in learner 0's process (True) or in a Ray actor (False); None: in a local learner's process.
        modules: Module id → its own ``target_entropy``, ``target_kl`` and other settings.
        results: Folder that the run's records are written to; None: none are.
        **controller: Further fields of :class:`~maxent_ray.core.config.ControllerConfig`.

    Returns:
        The same config, with learner class and settings in place.

    Raises:
        ConfigError: the algorithm cannot be controlled, is told something else by its own settings, or a target is out
            of its reach; says what to change.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> config = PPOConfig().environment("CartPole-v1")
        >>> control(config, target_entropy=0.5, target_kl=0.01) is config
        True
        >>> control(config, target_entropy=0.7)
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: module 'default_policy': target_entropy is 0.7; it must be in (0, 0.6931) nats...
    """
    learner_class = controlled_learner_class(config)
    fields = {
        "target_entropy": target_entropy,
        "target_kl": target_kl,
        "objective": _plain_objective(objective),
        "entropy_response": response,
        "kl_response": response,
        "tau": tau,
        "beta": beta,
        **controller,
    }
    check_fields(fields, "control()")
    for module_id, values in (modules or {}).items():
        check_fields(values, f"modules[{module_id!r}]")
    settings = Settings(
        run_id=run_id or _algorithm(config).lower(),
        local=local,
        controller=fields,
        inner_loop=inner_loop,
        modules={module_id: dict(values) for module_id, values in (modules or {}).items()},
    )
    plain = settings.to_dict()
    learner_class.check_config(config, Settings(**plain), action_spaces(config))
    config.learners(learner_class=learner_class, learner_config_dict={KEY: plain})
    return config if results is None else record(config, results)


def controlled_learner_class(config: AlgorithmConfig) -> type[ControlledLearner]:
    """Learner class with a controller, for an algorithm.

    Raises:
        ConfigError: there is none, or the config names another learner class.

    Example:
        >>> from ray.rllib.algorithms.dqn import DQNConfig
        >>> controlled_learner_class(DQNConfig())
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: the algorithm is DQN, whose loss maxent_ray has no controller for; valid: ...
    """
    algorithm = _algorithm(config)
    if algorithm not in LEARNERS:
        valid = ", ".join(LEARNERS)
        raise ConfigError(f"the algorithm is {algorithm}, whose loss maxent_ray has no controller for; valid: {valid}")
    if config.framework_str != "torch":
        raise ConfigError(f"framework is {config.framework_str!r}; maxent_ray needs .framework('torch')")
    if not (config.enable_rl_module_and_learner and config.enable_env_runner_and_connector_v2):
        raise ConfigError(
            "the config is for RLlib's old API stack; set .api_stack(enable_rl_module_and_learner=True, "
            "enable_env_runner_and_connector_v2=True)"
        )
    ours, chosen = LEARNERS[algorithm], config.learner_class
    if chosen is config.get_default_learner_class():
        return ours
    if not issubclass(chosen, ours):
        raise ConfigError(f"learner_class is {chosen.__name__}; derive it from {ours.__module__}.{ours.__name__}")
    return chosen


def _algorithm(config: AlgorithmConfig) -> str:
    return "none" if config.algo_class is None else config.algo_class.__name__


def _plain_objective(objective: str | ObjectiveSettings | None) -> dict[str, Any] | None:
    if objective is None:
        return None
    if isinstance(objective, str):
        return {"type": objective}
    if not isinstance(objective, ObjectiveSettings):
        raise ConfigError(f"objective is {shown(objective)}; give a name, or an objective's settings")
    return asdict(objective)
