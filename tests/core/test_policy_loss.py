"""The policy loss against its gradients written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from maxent_ray.core.policy_loss import coefficient_loss, maxent_loss
from maxent_ray.core.weighting import group_weights
from maxent_ray.core.weightings.advantages import group_advantages

B, G = 3, 4


def logprobs(seed: int = 0) -> Tensor:
    values = -torch.rand(B, G, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.requires_grad_()


def some_weights() -> Tensor:
    logits = torch.randn(B, G, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return logits.softmax(-1)


def test_maxent_gradient_raises_what_is_weighted_above_uniform() -> None:
    """dL/d log π̄ᵢ = −(wᵢ − 1/G)/B and dL/dKL = β."""
    weights, mean_logprobs = some_weights(), logprobs()
    kl = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    by_logprobs, by_kl = torch.autograd.grad(
        maxent_loss(weights, mean_logprobs, kl, 0.7), (mean_logprobs, kl)
    )
    torch.testing.assert_close(by_logprobs, -(weights - 1 / G) / B)
    assert by_kl.item() == pytest.approx(0.7)


def test_maxent_loss_by_hand() -> None:
    weights = torch.tensor([[0.7, 0.3]], dtype=torch.float64)
    loss = maxent_loss(weights, torch.tensor([[-1.0, -3.0]]).double(), torch.tensor(0.5).double(), 0.1)
    assert loss.item() == pytest.approx(-(0.2 * -1 + -0.2 * -3) + 0.1 * 0.5)


def test_uniform_weights_are_a_fixed_point() -> None:
    mean_logprobs = logprobs()
    loss = maxent_loss(
        torch.full((B, G), 1 / G).double(), mean_logprobs, torch.zeros((), dtype=torch.float64), 0.7
    )
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, mean_logprobs)[0].any()


def test_the_baseline_leaves_the_total_alone() -> None:
    """The surplus of a group sums to 0: scaling all its completions' probabilities alike moves nothing."""
    mean_logprobs = logprobs()
    loss = maxent_loss(some_weights(), mean_logprobs, torch.zeros((), dtype=torch.float64), 0.0)
    by_group = torch.autograd.grad(loss, mean_logprobs)[0].sum(-1)
    torch.testing.assert_close(by_group, torch.zeros(B, dtype=torch.float64), rtol=0, atol=1e-15)


def test_the_loss_is_differentiable_in_both_coefficients() -> None:
    """What the unroll needs, by central differences: dL/dβ passes through the weights and the KL."""
    rewards = torch.tensor([[0.0, 1.0, 1.0, 0.0]] * B, dtype=torch.float64)
    rho, mean_logprobs, kl = logprobs(2).detach(), logprobs().detach(), torch.tensor(0.2, dtype=torch.float64)

    def loss(point: Tensor) -> Tensor:
        return maxent_loss(group_weights(rewards, rho, point[0], point[1]), mean_logprobs, kl, point[1])

    point = torch.tensor([0.3, 0.1], dtype=torch.float64, requires_grad=True)
    (by_autograd,) = torch.autograd.grad(loss(point), point)
    steps = 1e-5 * torch.eye(2, dtype=torch.float64)
    expected = torch.stack([(loss(point + h) - loss(point - h)) / 2e-5 for h in steps]).detach()
    torch.testing.assert_close(by_autograd, expected, rtol=1e-8, atol=1e-9)
    assert bool((by_autograd != 0).all())


def test_advantages_are_standardised_within_each_group() -> None:
    """r = (0, 0, 1, 1): mean ½, unbiased standard deviation √(1/3)."""
    advantages = group_advantages(
        torch.tensor([[0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 6.0, 6.0]]).double(), epsilon=0.0
    )
    unit = math.sqrt(3) / 2
    expected = torch.tensor([[-unit, -unit, unit, unit]] * 2, dtype=torch.float64)
    torch.testing.assert_close(advantages, expected)


def test_a_tied_group_has_no_advantage_and_no_nan() -> None:
    assert not group_advantages(torch.ones(1, G)).any()


def test_epsilon_only_shrinks_advantages() -> None:
    rewards = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    shrunk, plain = group_advantages(rewards), group_advantages(rewards, epsilon=0.0)
    spread = math.sqrt(0.5)
    torch.testing.assert_close(shrunk, plain * spread / (spread + 1e-4))


def test_grpo_gradient_is_reinforce_with_advantages() -> None:
    """dL/d log π̄ᵢ = −Aᵢ/(B·G) and dL/dKL = β."""
    rewards = torch.tensor([[0.0, 1.0, 0.5, 0.0]] * B, dtype=torch.float64)
    advantages, mean_logprobs = group_advantages(rewards), logprobs()
    kl = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    by_logprobs, by_kl = torch.autograd.grad(
        coefficient_loss(advantages / G, mean_logprobs, kl, 0.7), (mean_logprobs, kl)
    )
    torch.testing.assert_close(by_logprobs, -advantages / (B * G))
    assert by_kl.item() == pytest.approx(0.7)
