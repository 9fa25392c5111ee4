"""PPO's loss as a pure function against RLlib's own."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import pytest
import torch
from ray.rllib.core.columns import Columns

from maxent_ray.rllib.ppo_loss import PPOLoss
from tests.rllib.ppo_problem import BETA, MASKED, TAU, ppo_problem, restored, rllib_loss, set_coefficients

COEFFICIENTS = torch.tensor(TAU, dtype=torch.float64), torch.tensor(BETA, dtype=torch.float64)
TIGHT = {"vf_clip_param": 0.5, "vf_loss_coeff": 0.3, "clip_param": 0.05}


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "no mask"])
@pytest.mark.parametrize("settings", [{}, {"use_critic": False}, TIGHT], ids=["defaults", "no critic", "tight clips"])
@pytest.mark.parametrize(("env", "shared"), list(product(["CartPole-v1", "Pendulum-v1"], [True, False])))
def test_loss_and_gradients_are_those_of_rllibs_learner(
    env: str, shared: bool, settings: dict[str, Any], masked: bool
) -> None:
    problem = ppo_problem(env, shared=shared)
    config = problem.config.copy(copy_frozen=False).training(**settings)
    batch = dict(problem.minibatches[0])
    if not masked:
        del batch[Columns.LOSS_MASK]
    set_coefficients(problem.learner, TAU, BETA)
    expected = rllib_loss(problem, batch, config)
    loss = PPOLoss(problem.module, config)
    found = loss.loss(loss.params, batch, COEFFICIENTS)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    parameters = list(problem.module.parameters())
    ours, theirs = (torch.autograd.grad(value, parameters, materialize_grads=True) for value in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_the_loss_is_that_of_the_parameters_it_is_given() -> None:
    problem = ppo_problem()
    batch, loss = problem.minibatches[0], PPOLoss(problem.module, problem.config)
    set_coefficients(problem.learner, TAU, BETA)
    moved = {name: value.detach() + 0.1 for name, value in loss.params.items()}
    found = loss.loss(moved, batch, COEFFICIENTS).item()
    assert found != pytest.approx(rllib_loss(problem, batch).item(), rel=1e-3)
    with restored(problem.module), torch.no_grad():
        for parameter in problem.module.parameters():
            parameter.add_(0.1)
        assert found == pytest.approx(rllib_loss(problem, batch).item(), rel=1e-12)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_entropy_and_kl_are_means_of_their_closed_forms_over_the_timesteps_that_count(env: str) -> None:
    problem = ppo_problem(env)
    batch, loss = problem.minibatches[0], PPOLoss(problem.module, problem.config)
    found = loss.signals(loss.params, batch)
    behaviour = batch[Columns.ACTION_DIST_INPUTS][:-MASKED]
    current = problem.module.forward_train(batch)[Columns.ACTION_DIST_INPUTS][:-MASKED]
    if env == "CartPole-v1":
        logp, logq = behaviour.log_softmax(-1), current.log_softmax(-1)
        entropy, kl = -(logq.exp() * logq).sum(-1), (logp.exp() * (logp - logq)).sum(-1)
    else:  # means and log standard deviations of one action
        (mean, log_std), (new_mean, new_log_std) = behaviour.unbind(-1), current.unbind(-1)
        entropy = new_log_std + 0.5 + 0.5 * torch.log(torch.tensor(2 * torch.pi))
        variances = (log_std.exp() ** 2 + (mean - new_mean) ** 2) / (2 * new_log_std.exp() ** 2)
        kl = new_log_std - log_std + variances - 0.5
    torch.testing.assert_close(found.entropy, entropy.mean())
    torch.testing.assert_close(found.kl, kl.mean())


def test_frozen_parameters_stay_the_modules_own() -> None:
    problem = ppo_problem()
    module = copy.deepcopy(problem.module)
    module.pi.requires_grad_(False)
    loss = PPOLoss(module, problem.config)
    assert set(loss.params) == {name for name, _ in module.named_parameters() if not name.startswith("pi.")}
    found = loss.loss(loss.params, problem.minibatches[0], COEFFICIENTS)
    set_coefficients(problem.learner, TAU, BETA)
    assert found.item() == pytest.approx(rllib_loss(problem, problem.minibatches[0]).item(), rel=1e-12)
