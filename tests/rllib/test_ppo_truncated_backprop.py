"""PPO under truncated backprop: built by one line, refused by name where it cannot be unrolled."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from maxent_ray.core.objectives import Joint, TruncatedBackprop, Unroll
from maxent_ray.errors import ConfigError
from maxent_ray.rllib import control
from maxent_ray.rllib.ppo import MaxEntPPOTorchLearner
from tests.rllib.tiny import MODULE, metrics_of, ppo


def decisions_of(algorithm: Any) -> list[dict[str, Any]]:
    learner = algorithm.learner_group._learner
    learner._controls[MODULE].coefficients()  # those of the next update: waits for the newest decision
    decisions: list[dict[str, Any]] = learner.maxent_decisions({})[MODULE]
    return decisions


@pytest.mark.parametrize("objective", ["truncated_backprop", TruncatedBackprop(unroll=Unroll(steps=3), form=Joint())])
@pytest.mark.parametrize(("env", "target"), [("CartPole-v1", 0.6), ("Pendulum-v1", -0.5)])
def test_decisions_are_made_from_the_unroll(built: Any, env: str, target: float, objective: Any) -> None:
    response = "auto" if objective == "truncated_backprop" else "fast"  # joint has signals in other units
    algorithm = built(control(ppo(env), target_entropy=target, target_kl=0.001, objective=objective, response=response))
    for _ in range(3):
        metrics = metrics_of(algorithm.train())
    decisions = decisions_of(algorithm)
    assert [decision["source"] for decision in decisions] == ["truncated_backprop"] * 3
    assert {decision["reason"] for decision in decisions} <= {"updated", "clipped"}
    last = decisions[-1]
    assert metrics["maxent_kl"] == pytest.approx(last["kl"])
    assert last["tau"] != last["previous_tau"]
    assert last["beta"] != last["previous_beta"]
    assert all(not unroll._minibatches for unroll in algorithm.learner_group._learner._unrolls.values())


def test_a_fixed_entropy_coefficient_of_zero_is_unrolled_too(built: Any) -> None:
    algorithm = built(control(ppo(entropy_coeff=0.0), target_kl=0.001, objective="truncated_backprop"))
    algorithm.train()
    (decision,) = decisions_of(algorithm)
    assert (decision["source"], decision["tau"]) == ("truncated_backprop", 0.0)
    assert (decision["beta"] > decision["previous_beta"]) == (decision["kl"] > 0.001)


def test_the_unroll_does_not_change_the_training(built: Any) -> None:
    """With rules that do not move the coefficients, the weights are those of the analytic objective."""
    weights = []
    for objective in ("analytic", "truncated_backprop"):
        config = control(ppo(), target_kl=0.01, objective=objective, update_interval=2)
        algorithm = built(config)
        algorithm.train()  # no decision has an effect yet
        weights.append(algorithm.learner_group._learner.module[MODULE].state_dict())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def test_between_update_steps_nothing_is_unrolled(built: Any) -> None:
    config = control(ppo(), target_kl=0.01, objective="truncated_backprop", update_interval=2)
    algorithm = built(config)
    for _ in range(2):
        algorithm.train()
    assert [decision["reason"] for decision in decisions_of(algorithm)] == ["interval", "updated"]


def _coefficients(learner: Any) -> tuple[float, float, str]:
    coefficients = learner._controls[MODULE].coefficients()
    decision = learner.maxent_decisions({})[MODULE][-1:]
    return coefficients.tau, coefficients.beta, decision[0]["source"] if decision else ""


@pytest.mark.ray
@pytest.mark.slow
def test_two_learners_unroll_their_own_minibatches_and_agree(built: Any) -> None:
    config = ppo().learners(num_learners=2, num_cpus_per_learner=0.5)
    algorithm = built(control(config, target_entropy=0.6, target_kl=0.001, objective="truncated_backprop"))
    for _ in range(2):
        algorithm.train()
    results = algorithm.learner_group.foreach_learner(_coefficients)
    (tau, beta, source), (other_tau, other_beta, _) = (result.get() for result in results)
    assert (tau, beta) == (other_tau, other_beta)
    assert beta != 0.2
    assert source == "truncated_backprop"


class Diverging(MaxEntPPOTorchLearner):
    """Its unroll takes steps that no parameter survives."""

    def controller_gradients(self, module_id: str) -> Any:
        self.get_optimizer(module_id).param_groups[0]["lr"] = 1e30
        return super().controller_gradients(module_id)


def test_a_diverged_unroll_moves_nothing_and_is_named(built: Any) -> None:
    config = ppo("Pendulum-v1").learners(learner_class=Diverging)
    objective = TruncatedBackprop(unroll=Unroll(steps=2))
    algorithm = built(control(config, target_kl=0.01, objective=objective))
    algorithm.train()
    (decision,) = decisions_of(algorithm)
    assert decision["reason"] == "non_finite"
    assert decision["beta"] == decision["previous_beta"]


# --- errors ---


def controlled(config: PPOConfig, unroll: Unroll | None = None) -> PPOConfig:
    return control(config, target_kl=0.01, objective=TruncatedBackprop(unroll=unroll or Unroll()))


@pytest.mark.parametrize(
    ("training", "unroll", "message"),
    [
        ({}, Unroll(mode="auto"), "unroll.mode is 'auto'; for PPO it must be reverse, forward or first_order"),
        ({}, Unroll(all_reduce=True), "unroll.all_reduce is True, which PPO has no use for; leave it out"),
        ({}, Unroll(groups=4), "unroll.groups is 4, which PPO has no use for; leave it out"),
        ({}, Unroll(steps=4), r"unroll.steps is 4, and an epoch has 4 .* set .training\(minibatch_size=25\) or less"),
        ({"minibatch_size": None}, None, r"an epoch has 1 minibatch.* set .training\(minibatch_size=64\) or less"),
        ({"grad_clip": 1.0, "grad_clip_by": "value"}, None, "grad_clip_by is 'value', .*grad_clip_by='global_norm'"),
    ],
)
def test_settings_that_cannot_be_unrolled_are_errors(training: Any, unroll: Unroll | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        controlled(ppo(**training), unroll)


def test_a_loss_without_a_kl_term_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"use_kl_loss is False, and truncated backprop .* kl_coeff=0.0"):
        control(ppo(use_kl_loss=False), target_entropy=0.5, objective="truncated_backprop")


def test_compiled_passes_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"torch_compile_learner is True, .* second derivative"):
        controlled(ppo().framework(torch_compile_learner=True))


class OwnLoss(MaxEntPPOTorchLearner):
    def compute_loss_for_module(self, **inputs: Any) -> torch.Tensor:
        return 2 * super().compute_loss_for_module(**inputs)


class OwnOptimizer(MaxEntPPOTorchLearner):
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = self.get_parameters(self._module[module_id])
        optimizer = torch.optim.SGD(parameters)
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.lr
        )


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (OwnLoss, "learner_class is OwnLoss, which has its own compute_loss_for_module; .* objective='analytic'"),
        (OwnOptimizer, "module 'default_policy': its optimizers are SGD; .* one Adam or AdamW.* objective='analytic'"),
    ],
)
def test_steps_of_ones_own_are_errors_where_the_learner_is_built(learner: Any, message: str) -> None:
    config = controlled(ppo().learners(learner_class=learner))
    with pytest.raises(ConfigError, match=message):
        config.build_learner(env=gymnasium.make("CartPole-v1"))
    config = control(ppo().learners(learner_class=learner), target_kl=0.01)  # the analytic objective takes any
    config.build_learner(env=gymnasium.make("CartPole-v1"))


def test_a_recurrent_module_is_an_error_where_the_learner_is_built() -> None:
    config = ppo().rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8], use_lstm=True, max_seq_len=4))
    with pytest.raises(ConfigError, match=r"module 'default_policy' is recurrent, .* use objective='analytic'"):
        controlled(config).build_learner(env=gymnasium.make("CartPole-v1"))
