"""The hypergradient through PPO's minibatch steps against making them, with RLlib's learner, at τ ± h and β ± h."""

from __future__ import annotations

import math
from dataclasses import astuple
from itertools import product
from typing import Any

import pytest
import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from maxent_ray.core.objectives import Sensitivity, Unroll
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import ConfigError
from maxent_ray.rllib.ppo_unroll import PPOUnroll
from tests.rllib.ppo_problem import (
    BETA,
    COEFFICIENTS,
    MASKED,
    MODULE,
    RATE,
    ROWS,
    TAU,
    Problem,
    ppo_problem,
    restored,
    set_coefficients,
)

STATISTICS = BatchStatistics(tokens=100, policy_entropy_sum=110.0, policy_kl_sum=2.0)
KINDS = list(product(["CartPole-v1", "Pendulum-v1"], [True, False]))


def unroll_of(problem: Problem, **training: Any) -> PPOUnroll:
    settings = {name: training.pop(name) for name in list(training) if name in ("steps", "mode", "checkpoint")}
    config = problem.config.copy(copy_frozen=False).training(**training)
    unroll = PPOUnroll(problem.module, config, Unroll(**settings))
    for batch in problem.minibatches:
        unroll.add(batch)
    return unroll


def sensitivity(problem: Problem, **settings: Any) -> Sensitivity:
    gradients = unroll_of(problem, **settings).gradients(COEFFICIENTS, STATISTICS, rates=RATE, share=1.0)
    assert gradients is not None
    assert gradients.source == "truncated_backprop"
    assert gradients.sensitivity is not None
    return gradients.sensitivity


def after_steps(problem: Problem, steps: int, tau: float, beta: float) -> Tensor:
    """H and KL on minibatch K after RLlib's learner has made K updates with the minibatches before it."""
    set_coefficients(problem.learner, tau, beta)
    with restored(problem.module):
        for batch in problem.minibatches[:steps]:
            problem.learner._uncompiled_update({MODULE: batch})
        batch = problem.minibatches[steps]
        with torch.no_grad():
            inputs = problem.module.forward_train(batch)[Columns.ACTION_DIST_INPUTS][:-MASKED]
        distribution = problem.module.get_train_action_dist_cls()
        current = distribution.from_logits(inputs)
        behaviour = distribution.from_logits(batch[Columns.ACTION_DIST_INPUTS][:-MASKED])
        return torch.stack([current.entropy().mean(), behaviour.kl(current).mean()])


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize(("env", "shared"), KINDS)
def test_derivatives_are_those_of_rllibs_own_updates(env: str, shared: bool, steps: int) -> None:
    problem, h = ppo_problem(env, shared=shared), 1e-4
    found = sensitivity(problem, steps=steps)
    by_tau = (after_steps(problem, steps, TAU + h, BETA) - after_steps(problem, steps, TAU - h, BETA)) / (2 * h)
    by_beta = (after_steps(problem, steps, TAU, BETA + h) - after_steps(problem, steps, TAU, BETA - h)) / (2 * h)
    assert (found.entropy_tau, found.kl_tau) == pytest.approx(by_tau.tolist(), rel=1e-5)
    assert (found.entropy_beta, found.kl_beta) == pytest.approx(by_beta.tolist(), rel=1e-5)
    assert found.entropy_tau > 0
    assert found.kl_beta < 0


@pytest.mark.parametrize("settings", [{"mode": "forward"}, {"checkpoint": True}], ids=["forward", "checkpoints"])
@pytest.mark.parametrize(("env", "shared"), KINDS)
def test_exact_modes_agree(env: str, shared: bool, settings: dict[str, Any]) -> None:
    problem = ppo_problem(env, shared=shared)
    expected = astuple(sensitivity(problem, steps=3))
    assert astuple(sensitivity(problem, steps=3, **settings)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_first_order_is_exact_for_one_step(env: str) -> None:
    problem = ppo_problem(env)
    found = sensitivity(problem, steps=1, mode="first_order")
    assert astuple(found) == pytest.approx(astuple(sensitivity(problem, steps=1)), rel=1e-9)


def test_clipping_by_the_global_norm_is_differentiated() -> None:
    """RLlib clips each gradient; at a limit of a tenth of the norm, at τ ± h and β ± h."""
    problem, h = ppo_problem(), 1e-4
    before = problem.learner.config
    limit = 0.1
    problem.learner.config = before.copy(copy_frozen=False).training(grad_clip=limit)
    try:
        by_tau = (after_steps(problem, 2, TAU + h, BETA) - after_steps(problem, 2, TAU - h, BETA)) / (2 * h)
        by_beta = (after_steps(problem, 2, TAU, BETA + h) - after_steps(problem, 2, TAU, BETA - h)) / (2 * h)
    finally:
        problem.learner.config = before
    found, free = sensitivity(problem, steps=2, grad_clip=limit), sensitivity(problem, steps=2)
    assert (found.entropy_tau, found.kl_tau) == pytest.approx(by_tau.tolist(), rel=1e-4)
    assert (found.entropy_beta, found.kl_beta) == pytest.approx(by_beta.tolist(), rel=1e-4)
    assert found.kl_beta != pytest.approx(free.kl_beta, rel=0.1)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_masked_timesteps_have_no_influence(env: str) -> None:
    problem = ppo_problem(env)
    changed = [
        {name: torch.cat([value[:-MASKED], value[-MASKED:] * 3]) if value.dtype.is_floating_point else value
         for name, value in batch.items()}
        for batch in problem.minibatches
    ]  # fmt: skip
    found = sensitivity(problem._replace(minibatches=changed), steps=2)
    assert found == sensitivity(problem, steps=2)
    assert found.tokens == ROWS - MASKED
    unmasked = [{**batch, Columns.LOSS_MASK: torch.ones(ROWS, dtype=torch.bool)} for batch in problem.minibatches]
    other = sensitivity(problem._replace(minibatches=unmasked), steps=2)
    assert other.tokens == ROWS
    assert other.kl_beta != pytest.approx(found.kl_beta, rel=1e-3)


def test_the_first_minibatches_are_unrolled_over_and_the_next_one_is_measured() -> None:
    problem = ppo_problem()
    a, b, c, d = problem.minibatches
    found = sensitivity(problem._replace(minibatches=[a, b, c]), steps=2)
    assert sensitivity(problem._replace(minibatches=[a, b, c, d]), steps=2) == found
    assert sensitivity(problem._replace(minibatches=[a, b, d]), steps=2) != found
    assert sensitivity(problem._replace(minibatches=[d, b, c]), steps=2) != found


def test_levels_are_the_measured_means_of_the_update() -> None:
    found = sensitivity(ppo_problem(), steps=1)
    assert (found.entropy, found.kl) == (1.1, 0.02)
    assert (found.tau, found.beta, found.version, found.steps) == (TAU, BETA, 3, 1)


def test_neither_the_module_nor_its_gradients_are_changed() -> None:
    problem = ppo_problem()
    before = {name: value.clone() for name, value in problem.module.state_dict().items()}
    problem.module.zero_grad(set_to_none=True)
    sensitivity(problem, steps=3)
    assert all(torch.equal(value, before[name]) for name, value in problem.module.state_dict().items())
    assert all(parameter.grad is None for parameter in problem.module.parameters())


def test_an_update_with_too_few_minibatches_has_no_gradients() -> None:
    problem = ppo_problem()
    unroll = unroll_of(problem._replace(minibatches=problem.minibatches[:2]), steps=2)
    assert unroll.gradients(COEFFICIENTS, STATISTICS, rates=RATE, share=1.0) is None
    unroll.add(problem.minibatches[2])
    assert unroll.gradients(COEFFICIENTS, STATISTICS, rates=RATE, share=1.0) is not None
    assert unroll.gradients(COEFFICIENTS, BatchStatistics(), rates=RATE, share=1.0) is None
    unroll.clear()
    assert unroll.gradients(COEFFICIENTS, STATISTICS, rates=RATE, share=1.0) is None


def test_from_the_updates_start_one_step_does_not_show_beta() -> None:
    """There π is the behaviour policy, and KL's gradient is 0: the reason to go on from the update's end."""
    problem = ppo_problem()
    with torch.no_grad():
        start = [
            {**batch, Columns.ACTION_DIST_INPUTS: problem.module.forward_train(batch)[Columns.ACTION_DIST_INPUTS]}
            for batch in problem.minibatches
        ]
    one = sensitivity(problem._replace(minibatches=start), steps=1)
    at_end = sensitivity(problem, steps=1)
    assert abs(one.kl_beta) < 1e-12
    assert at_end.kl_beta < -1e-4
    assert one.entropy_tau == pytest.approx(at_end.entropy_tau, rel=1)  # τ acts on H at either


def test_a_diverged_unroll_is_not_finite() -> None:
    gradients = unroll_of(ppo_problem(), steps=3).gradients(COEFFICIENTS, STATISTICS, rates=1e30, share=1.0)
    assert gradients is not None
    assert gradients.sensitivity is not None
    assert not gradients.sensitivity.is_finite()
    assert math.isfinite(gradients.sensitivity.kl)


def test_mode_auto_is_refused() -> None:
    problem = ppo_problem()
    with pytest.raises(ConfigError, match=r"objective\.unroll\.mode is 'auto'; for PPO it must be reverse"):
        PPOUnroll(problem.module, problem.config, Unroll(mode="auto"))
