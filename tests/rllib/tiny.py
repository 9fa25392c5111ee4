"""Configurations of algorithms with tiny batches."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

MODULE = "default_policy"
SMALL = DefaultModelConfig(fcnet_hiddens=[16], head_fcnet_hiddens=[])


def ppo(env: str = "CartPole-v1", **training: Any) -> PPOConfig:
    """PPO with four minibatches of 32 steps, twice over."""
    settings = {"train_batch_size": 128, "minibatch_size": 32, "num_epochs": 2, **training}
    return small(PPOConfig().environment(env).training(**settings))


def sac(env: str, **training: Any) -> SACConfig:
    """SAC with one update of 32 steps in each iteration."""
    settings = {"train_batch_size_per_learner": 32, "num_steps_sampled_before_learning_starts": 32, **training}
    config = SACConfig().environment(env).training(**settings).env_runners(rollout_fragment_length=1)
    return small(config.reporting(min_sample_timesteps_per_iteration=1, min_time_s_per_iteration=0))


def asynchronous(config: APPOConfig | IMPALAConfig, **training: Any) -> Any:
    """APPO or IMPALA with a remote learner."""
    settings = {"train_batch_size_per_learner": 64, **training}
    config = config.environment("CartPole-v1").training(**settings).learners(num_learners=1)
    return small(config.reporting(min_time_s_per_iteration=1)).env_runners(num_env_runners=1)


def small(config: Any) -> Any:
    """A small network, no remote env runner, a fixed seed."""
    config = config.env_runners(num_env_runners=0).debugging(seed=0, log_level="ERROR")
    return config.rl_module(model_config=SMALL)


def metrics_of(result: dict[str, Any], module_id: str = MODULE) -> dict[str, float]:
    """Our metrics of one module in an algorithm's result."""
    found = result["learners"][module_id]
    return {name: float(value) for name, value in found.items() if name.startswith("maxent_")}


def of_learners(algorithm: Any, look: Any) -> list[Any]:
    """What ``look`` gives on each learner, in the order of their ranks."""
    return [answer.get() for answer in algorithm.learner_group.foreach_learner(look)]
