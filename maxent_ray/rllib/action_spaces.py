"""Entropies that an action space allows."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from maxent_ray.errors import ConfigError


def largest_entropy(space: gym.Space[Any]) -> float:
    """Entropy of a uniform policy (nats); infinite where some action is continuous, and where it is not known.

    Example:
        >>> largest_entropy(gym.spaces.MultiDiscrete([2, 3])) == math.log(6)
        True
        >>> largest_entropy(gym.spaces.Box(-1.0, 1.0))
        inf
    """
    if isinstance(space, gym.spaces.Discrete):
        return math.log(space.n)
    if isinstance(space, gym.spaces.MultiDiscrete):
        return float(sum(math.log(n) for n in space.nvec.flatten()))
    if isinstance(space, gym.spaces.Tuple | gym.spaces.Dict):
        parts = space.spaces if isinstance(space, gym.spaces.Tuple) else space.spaces.values()
        return sum(map(largest_entropy, parts))
    return math.inf


def check_target_entropy(target: float, space: gym.Space[Any], where: str) -> None:
    """Raise ConfigError for a target that no policy over a discrete action space reaches.

    Example:
        >>> check_target_entropy(0.8, gym.spaces.Discrete(2), "module 'p'")
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: module 'p': target_entropy is 0.8; it must be in (0, 0.6931) nats, ...
    """
    most = largest_entropy(space)
    # the uniform policy itself, and one without any chance, are limits that no finite τ reaches
    if math.isfinite(most) and not 0 < target < most * (1 - 1e-4):
        raise ConfigError(
            f"{where}: target_entropy is {target}; it must be in (0, {most:.4f}) nats, "
            f"the entropies of policies over {space}"
        )


def action_spaces(config: Any) -> dict[str, gym.Space[Any] | None]:
    """Module id → action space, None where the config alone does not tell it.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> action_spaces(PPOConfig().environment("CartPole-v1"))
        {'default_policy': Discrete(2)}
        >>> action_spaces(PPOConfig().multi_agent(policies={"first"}))
        {'first': None}
    """
    env, shared = config.env, config.action_space
    if shared is None and not config.is_multi_agent and isinstance(env, str) and env in gym.registry:
        with gym.make(env, **config.env_config) as made:  # an environment of the user's own is not started here
            shared = made.action_space
    spec = config.rl_module_spec
    one_each = isinstance(spec, MultiRLModuleSpec)
    specs: dict[str, Any] = (spec.rl_module_specs or {}) if one_each else dict.fromkeys(config.policies, spec)
    sources = {name: (config.policies.get(name), specs.get(name)) for name in {**config.policies, **specs}}
    return {name: next(filter(None, map(_space_of, found)), shared) for name, found in sources.items()}


def _space_of(spec: Any) -> gym.Space[Any] | None:
    return None if spec is None else spec.action_space
