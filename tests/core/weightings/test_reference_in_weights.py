"""Weights without a reference in them: H is τ's alone, and β has no part in anything that is measured on weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from maxent_ray.core.measurement import GroupMeasures, RewardedGroups, batch_statistics, measure_groups
from maxent_ray.core.statistics import BatchStatistics, CoefficientBounds
from maxent_ray.core.weighting import group_weights, listwise_log_q, weight_coefficients, weight_entropy

B, G = 12, 8
REWARDS = torch.randint(0, 2, (B, G), generator=torch.Generator().manual_seed(0)).double()
LOG_Q = listwise_log_q(REWARDS, 1.0, 1e-6)
RHO = 5 * torch.randn(B, G, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TAUS = [1e-3, 0.01, 0.1, 0.3, 1.0, 10.0, 100.0]
BOUNDS = CoefficientBounds((1e-3, 100.0), (1e-4, 100.0))


def measured(tau: float, beta: float, *, reference_in_weights: bool = False) -> GroupMeasures:
    return measure_groups(REWARDS, LOG_Q, RHO, tau, beta, reference_in_weights)


def statistics(groups: GroupMeasures | RewardedGroups) -> BatchStatistics:
    tokens = torch.full((B * G, 3), 0.5, dtype=torch.float64)
    return batch_statistics(groups, tokens, tokens, tokens > 0, BOUNDS)


@pytest.mark.parametrize("beta", [0.0, 0.1, 10.0])
@pytest.mark.parametrize("tau", TAUS)
def test_weights_are_powers_of_q_whatever_beta_and_the_reference_are(tau: float, beta: float) -> None:
    """w ∝ q^(1/τ), formed here by powers of q over its largest value."""
    powers = (LOG_Q - LOG_Q.max(-1, keepdim=True).values).exp() ** (1 / tau)
    torch.testing.assert_close(measured(tau, beta).weights, powers / powers.sum(-1, keepdim=True), rtol=1e-9, atol=0)


def test_entropy_rises_with_tau_in_every_group_that_does_not_tie() -> None:
    entropies = torch.stack([measured(tau, 0.5).entropy for tau in TAUS[2:]])
    tied = (REWARDS[:, :1] == REWARDS).all(-1)
    assert bool((entropies.diff(dim=0)[:, ~tied] > 0).all())
    torch.testing.assert_close(entropies[:, tied], torch.full_like(entropies[:, tied], math.log(G)))


@pytest.mark.parametrize("tau", [0.05, 0.3, 3.0])
def test_derivatives_are_those_of_these_weights(tau: float) -> None:
    groups = measured(tau, 0.7)
    at = torch.tensor([tau, 0.7], dtype=torch.float64, requires_grad=True)
    weights = group_weights(LOG_Q, RHO, *weight_coefficients(at[0], at[1], reference_in_weights=False))
    (by_autograd,) = torch.autograd.grad(weight_entropy(weights).sum(), at)
    made = statistics(groups)
    assert made.entropy_tau_sum == pytest.approx(by_autograd[0].item(), rel=1e-9)
    assert by_autograd[1].item() == made.entropy_beta_sum == made.kl_beta_sum == 0.0
    coupled = statistics(measured(tau, 0.7, reference_in_weights=True))
    assert coupled.entropy_beta_sum != 0  # as they are with it
    assert coupled.kl_beta_sum < 0


def test_what_is_reachable_is_what_these_weights_reach() -> None:
    made = statistics(measured(0.3, 0.7))
    entropy = made.reach("weight_entropy")
    assert entropy is not None
    assert entropy.low == pytest.approx(measured(1e-3, 0.0).entropy.mean().item())
    assert entropy.high == pytest.approx(measured(100.0, 0.0).entropy.mean().item())


def test_a_reference_that_rules_an_answer_out_says_nothing_of_the_batch() -> None:
    """KL(w‖p) is infinite there; it is measured only where the weights follow the reference, and are 0 there too."""
    ruled_out = RHO.index_fill(1, torch.tensor([0]), -math.inf)
    for reference_in_weights in (False, True):
        made = statistics(measure_groups(REWARDS, LOG_Q, ruled_out, 0.3, 0.7, reference_in_weights))
        assert made.invalid_field() is None
        assert (made.weight_kl_sum is None) == (not reference_in_weights)
        assert (made.reach("weight_kl") is None) == (not reference_in_weights)


def test_at_tau_0_weights_are_uniform_on_the_best_and_nothing_moves_them() -> None:
    groups = measured(0.0, 0.7)
    best = (REWARDS.max(-1, keepdim=True).values == REWARDS).double()
    torch.testing.assert_close(groups.weights, best / best.sum(-1, keepdim=True))
    assert not groups.curvature.tau_tau.any()
    tau = torch.zeros((), dtype=torch.float64, requires_grad=True)
    weights = group_weights(LOG_Q, RHO, *weight_coefficients(tau, 0.7, reference_in_weights=False))
    (slope,) = torch.autograd.grad(weight_entropy(weights).sum(), tau)
    assert slope == 0


def test_with_a_reference_in_the_weights_nothing_has_changed() -> None:
    beta: Tensor = torch.tensor(0.1)
    assert weight_coefficients(0.3, beta, reference_in_weights=True) == (0.3, beta)


def test_a_batch_without_weights_has_no_statistics_of_weights() -> None:
    with_weights, without = statistics(measured(0.3, 0.7)), statistics(RewardedGroups(REWARDS))
    assert without.weight_entropy_sum is None and without.weight_kl_sum is None
    assert without.mean("weight_entropy") is None
    assert without.reach("weight_entropy") is None
    for name in ("groups", "completions", "tokens", "tied_groups", "reward_sum", "policy_kl_sum", "policy_entropy_sum"):
        assert getattr(without, name) == getattr(with_weights, name)
    assert without.invalid_field() is None
