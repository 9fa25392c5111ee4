"""What cannot be controlled is refused with one sentence that says what to change, before anything starts."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.cql import CQLConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.policy.policy import PolicySpec

from maxent_ray import TruncatedBackprop
from maxent_ray.errors import ConfigError
from maxent_ray.rllib import control
from maxent_ray.rllib.ppo import MaxEntPPOTorchLearner


class Other(PPOTorchLearner):
    """A learner that does not mix ours in."""


def over(space: gym.Space[Any], config: Any = None) -> Any:
    return (config or PPOConfig()).environment(action_space=space, observation_space=gym.spaces.Box(-1.0, 1.0))


def two_modules() -> PPOConfig:
    spec = PolicySpec(action_space=gym.spaces.Discrete(2))
    return PPOConfig().multi_agent(policies={"p0": spec, "p1": spec}, policy_mapping_fn=lambda agent, episode: "p0")


DISCRETE = gym.spaces.Discrete(2)
PAIR = gym.spaces.MultiDiscrete([2, 3])
CASES = {
    "old_api_stack": (
        lambda: PPOConfig().api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False),
        {"target_kl": 0.01},
        r"old API stack; set \.api_stack\(enable_rl_module_and_learner=True",
    ),
    "tf2": (lambda: PPOConfig().framework("tf2"), {"target_kl": 0.01}, r"framework is 'tf2'; .*\.framework\('torch'\)"),
    "dqn": (lambda: DQNConfig(), {"target_entropy": 0.5}, "the algorithm is DQN, .* valid: PPO, APPO, IMPALA, SAC"),
    "cql": (lambda: CQLConfig(), {"target_entropy": 0.5}, "the algorithm is CQL"),
    "ppo_without_kl": (
        lambda: PPOConfig().training(use_kl_loss=False),
        {"target_kl": 0.01},
        r"use_kl_loss is False: .* set \.training\(use_kl_loss=True\)",
    ),
    "appo_without_kl": (lambda: APPOConfig(), {"target_kl": 0.01}, r"set \.training\(use_kl_loss=True\)"),
    "impala_kl": (lambda: IMPALAConfig(), {"target_kl": 0.01}, "the loss of IMPALA has no KL; leave it out"),
    "sac_kl": (lambda: SACConfig(), {"target_entropy": 0.4, "target_kl": 0.01}, "the loss of SAC has no KL"),
    "above_uniform": (lambda: over(DISCRETE), {"target_entropy": 0.7}, r"target_entropy is 0.7; .*\(0, 0.6931\) nats"),
    "not_positive": (lambda: over(DISCRETE), {"target_entropy": 0.0}, r"target_entropy is 0.0; .*\(0, 0.6931\)"),
    "above_uniform_pair": (lambda: over(PAIR), {"target_entropy": 1.8}, r"target_entropy is 1.8; .*\(0, 1.7918\)"),
    "of_the_environment": (
        lambda: PPOConfig().environment("CartPole-v1"),
        {"target_entropy": 1.0},
        r"target_entropy is 1.0; .*\(0, 0.6931\)",
    ),
    "annealed": (
        lambda: over(DISCRETE),
        {"target_entropy": 0.5, "target_entropy_final": -0.1, "target_entropy_horizon": 9},
        "target_entropy is -0.1; it must be in",
    ),
    "entropy_schedule": (
        lambda: PPOConfig().training(entropy_coeff=[[0, 0.01], [1000, 0.0]]),
        {"target_entropy": 0.5},
        "entropy_coeff is the schedule .* set entropy_coeff to a number",
    ),
    "entropy_schedule_kl_only": (
        lambda: PPOConfig().training(entropy_coeff=[[0, 0.01], [1000, 0.0]]),
        {"target_kl": 0.01},
        "entropy_coeff is the schedule",
    ),
    "two_kl_targets": (
        lambda: PPOConfig().training(kl_target=0.02),
        {"target_kl": 0.01},
        r"kl_target is 0.02, .* pass target_kl=0.02 to control\(\)",
    ),
    "rllibs_kl_target_alone": (
        lambda: PPOConfig().training(kl_target=0.02),
        {"target_entropy": 0.5},
        "kl_target is 0.02, of RLlib's own rule",
    ),
    "discrete_sac_auto": (
        lambda: SACConfig().environment("CartPole-v1"),
        {},
        r"target_entropy is 'auto', .* give control\(\) a target_entropy in \(0, 0.6931\)",
    ),
    "two_sac_targets": (
        lambda: over(DISCRETE, SACConfig().training(target_entropy=0.3)),
        {"target_entropy": 0.4},
        "target_entropy is 0.3 and control.* is 0.4; give one",
    ),
    "sac_alpha_lr": (
        lambda: over(DISCRETE, SACConfig().training(alpha_lr=1e-3)),
        {"target_entropy": 0.4},
        "alpha_lr is 0.001, .* leave alpha_lr at 0.0003",
    ),
    "sac_alpha_at_0": (
        lambda: over(DISCRETE, SACConfig().training(initial_alpha=0.0)),
        {"objective": None},
        r"tau is 0.0; it must be > 0, as SAC keeps ln α: set initial_alpha",
    ),
    "foreign_learner": (
        lambda: PPOConfig().learners(learner_class=Other),
        {"target_kl": 0.01},
        "learner_class is Other; derive it from maxent_ray.rllib.ppo.MaxEntPPOTorchLearner",
    ),
    "learner_of_another_algorithm": (
        lambda: APPOConfig().training(use_kl_loss=True).learners(learner_class=MaxEntPPOTorchLearner),
        {"target_kl": 0.01},
        "derive it from maxent_ray.rllib.appo.MaxEntAPPOTorchLearner",
    ),
    "unknown_module": (
        two_modules,
        {"target_kl": 0.01, "modules": {"p2": {"target_kl": 0.1}}},
        "modules has 'p2', which is no module of the algorithm; it has 'p0', 'p1'",
    ),
    "target_of_one_module": (
        two_modules,
        {"target_kl": 0.01, "modules": {"p1": {"target_entropy": 3.0}}},
        "module 'p1': target_entropy is 3.0; it must be in",
    ),
    "unknown_setting": (lambda: PPOConfig(), {"target_klx": 0.01}, r"control\(\): 'target_klx' is no setting"),
    "unknown_setting_of_module": (
        two_modules,
        {"modules": {"p1": {"target": 0.01}}},
        r"modules\['p1'\]: 'target' is no setting",
    ),
    "of_groups": (lambda: PPOConfig(), {"target_entropy_fraction": 0.9}, "target_entropy_fraction cannot be set: env"),
    "entropy_of_groups": (
        lambda: PPOConfig(),
        {"target_entropy": 1.0, "entropy_signal": "informative_weight_entropy"},
        r"control\(\): entropy_signal cannot be set: environments have no groups of answers, .*; valid: .*tau",
    ),
    "no_target": (lambda: over(DISCRETE), {}, "no module has a target_entropy or a target_kl"),
    "kl_of_another_type": (lambda: PPOConfig(), {"target_kl": "x"}, "target_kl is 'x'; it must be"),
    "entropy_of_another_type": (lambda: over(DISCRETE), {"target_entropy": "x"}, "target_entropy is 'x'; it must be"),
    "tau_of_another_type": (lambda: PPOConfig(), {"target_kl": 0.01, "tau": "x"}, "tau is 'x'; it must be"),
    "moved_from_0": (lambda: PPOConfig(), {"target_kl": 0.01, "beta": 0.0}, "beta is 0.0; it must be in"),
    "negative_kl": (lambda: PPOConfig(), {"target_kl": -0.1}, "target_kl is -0.1; it must be >= 0"),
    "unroll_elsewhere": (
        lambda: IMPALAConfig(),
        {"target_entropy": 0.5, "objective": TruncatedBackprop()},
        "objective is truncated_backprop, which needs unrolls, .* use 'analytic', or PPO",
    ),
    "unknown_objective": (lambda: PPOConfig(), {"target_kl": 0.01, "objective": "guess"}, "objective.type is 'guess'"),
    "no_objective": (lambda: PPOConfig(), {"target_kl": 0.01, "objective": 3}, "objective is 3; give a name"),
    "unknown_response": (lambda: PPOConfig(), {"target_kl": 0.01, "response": "quick"}, "response is 'quick'; valid"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_an_error_that_says_what_to_change(case: str) -> None:
    make, arguments, message = CASES[case]
    config = make()
    with pytest.raises(ConfigError, match=message):
        control(config, **arguments)
    assert "maxent_ray" not in config.learner_config_dict


def test_settings_that_are_made_later_are_checked_when_the_learner_is_built() -> None:
    config = control(PPOConfig().environment("CartPole-v1"), target_kl=0.01)
    config.training(use_kl_loss=False).env_runners(num_env_runners=0)
    with pytest.raises(ConfigError, match="use_kl_loss is False"):
        config.build_algo()


def test_a_learner_class_without_targets_says_where_they_come_from() -> None:
    config = PPOConfig().environment("CartPole-v1").learners(learner_class=MaxEntPPOTorchLearner)
    with pytest.raises(ConfigError, match=r"has no 'maxent_ray', .* through maxent_ray.rllib.control\(\)"):
        config.env_runners(num_env_runners=0).build_algo()


@pytest.mark.parametrize("target", [-3.0, 0.0, 5.0])
def test_a_continuous_policy_may_have_any_entropy(target: float) -> None:
    control(over(gym.spaces.Box(-1.0, 1.0)), target_entropy=target)
