"""Environments that :mod:`rllib_control` trains PPO on: small networks, short runs, nothing tuned for return.

The clip of PPO's ratio is wide (10), so that the KL term alone limits an update: under RLlib's usual .3 the largest
target would be out of reach in three of the five whatever β is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env

MINIGRID = "MiniGrid-DoorKey-5x5-v0"


@dataclass(frozen=True)
class Task:
    """One environment, with PPO's settings for it."""

    env: str
    solved: float
    """Mean return at which there is nothing left to learn: the environment's own ``reward_threshold`` where it has
    one."""
    target_entropy: float
    """H* of the runs with an entropy target (nats; differential for continuous actions)."""
    iterations: int = 40
    entropy_coeff: float = 0.0
    """τ where H has no target."""
    filter_observations: bool = False
    training: dict[str, float] = field(default_factory=dict)
    """PPO's settings that differ from `COMMON`."""


COPIES = 32
"""Of an environment, stepped together."""
COMMON: dict[str, Any] = {
    "train_batch_size_per_learner": 2048,
    "minibatch_size": 512,
    "num_epochs": 6,
    "lr": 1e-3,
    "clip_param": 10.0,
    "vf_clip_param": math.inf,
    "lambda_": 0.95,
}
TASKS = {
    "Pendulum": Task("Pendulum-v1", -200.0, 2.0, filter_observations=True, training={"gamma": 0.9, "lr": 3e-3}),
    "CartPole": Task("CartPole-v1", 475.0, 0.6),
    "LunarLander": Task("LunarLander-v3", 200.0, 1.2),
    "HalfCheetah": Task("HalfCheetah-v5", 4800.0, 10.0, filter_observations=True, training={"lr": 5e-4}),
    "MiniGrid": Task(MINIGRID, 0.95, 1.2, entropy_coeff=0.01),
}


def ppo(task: Task, seed: int) -> PPOConfig:
    """PPO's configuration for a task, in one process without env runners or learners of its own."""
    register_env(MINIGRID, _minigrid)
    return (
        PPOConfig()
        .environment(task.env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=COPIES)
        .env_runners(env_to_module_connector=_filter if task.filter_observations else None)
        .learners(num_learners=0)
        .training(entropy_coeff=task.entropy_coeff, **{**COMMON, **task.training})
        .rl_module(
            model_config=DefaultModelConfig(fcnet_hiddens=[64, 64], head_fcnet_hiddens=[], vf_share_layers=False)
        )
        .debugging(seed=seed, log_level="ERROR")
    )


def _filter(env: Any, spaces: Any = None, device: Any = None) -> MeanStdFilter:
    return MeanStdFilter()


def _minigrid(_: Any) -> gym.Env[Any, Any]:
    """The agent's 7 × 7 view as 147 numbers between 0 and 2: kinds of object, colours and states are ≤ 10."""
    from minigrid.wrappers import ImgObsWrapper

    flat = gym.wrappers.FlattenObservation(ImgObsWrapper(gym.make(MINIGRID)))
    space = gym.spaces.Box(0.0, 2.0, flat.observation_space.shape, np.float32)
    return gym.wrappers.TransformObservation(flat, lambda view: (view / 5).astype(np.float32), space)
