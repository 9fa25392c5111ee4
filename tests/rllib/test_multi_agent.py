"""Each module has a controller of its own, also one that is added later."""

from __future__ import annotations

from typing import Any

import pytest
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.multi_agent_env import make_multi_agent

from maxent_ray.rllib import control
from tests.rllib.tiny import SMALL, metrics_of, ppo, small

CartPoles = make_multi_agent("CartPole-v1")


def module_of(agent: int, *_: Any, **__: Any) -> str:
    return f"p{agent}"


def two_agents() -> PPOConfig:
    config = ppo(CartPoles).multi_agent(policies={"p0", "p1"}, policy_mapping_fn=module_of)
    return small(config.environment(env_config={"num_agents": 2}))


def test_modules_have_targets_and_coefficients_of_their_own(built: Any) -> None:
    config = control(two_agents(), target_entropy=0.5, modules={"p1": {"target_entropy": 0.65, "target_kl": 0.02}})
    algorithm = built(config)
    algorithm.train()
    result = algorithm.train()
    first, second = metrics_of(result, "p0"), metrics_of(result, "p1")
    assert (first["maxent_target_entropy"], second["maxent_target_entropy"]) == (0.5, 0.65)
    assert "maxent_target_kl" not in first and second["maxent_target_kl"] == 0.02
    assert first["maxent_beta"] == 0.2 != second["maxent_beta"]
    assert first["maxent_tau"] != second["maxent_tau"]


def test_a_module_that_is_added_later_gets_a_controller(built: Any) -> None:
    algorithm = built(control(two_agents(), target_entropy=0.5))
    learner = algorithm.learner_group._learner
    algorithm.train()
    spec = RLModuleSpec.from_module(learner.module["p0"])
    spec.model_config = SMALL
    algorithm.add_module("p2", spec, new_agent_to_module_mapping_fn=lambda agent, *_, **__: f"p{2 * agent}")
    metrics_of(algorithm.train(), "p2")
    result = algorithm.train()
    assert metrics_of(result, "p2")["maxent_version"] < metrics_of(result, "p0")["maxent_version"]
    algorithm.remove_module("p1", new_agent_to_module_mapping_fn=lambda agent, *_, **__: f"p{2 * agent}")
    algorithm.train()
    assert set(learner.maxent_decisions({})) == {"p0", "p2"}


def test_a_module_that_is_not_trained_has_no_controller(built: Any) -> None:
    config = two_agents().multi_agent(policies_to_train=["p1"])
    algorithm = built(control(config, target_entropy=0.5))
    result = algorithm.train()
    assert set(algorithm.learner_group._learner.maxent_decisions({})) == {"p1"}
    assert metrics_of(result, "p1")["maxent_entropy"] == pytest.approx(0.69, abs=0.03)
