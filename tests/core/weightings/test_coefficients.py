"""Every weighting's coefficients against the published formula, written out here in numpy or by counting subsets."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maxent_ray.core.policy_loss import coefficient_loss
from maxent_ray.core.weighting import group_weights
from maxent_ray.core.weightings import (
    EntropicWeighting,
    GRPOWeighting,
    ListwiseWeighting,
    MaxEntWeighting,
    PassAtKWeighting,
    RepoRWeighting,
    UCPOWeighting,
    UnlikelinessWeighting,
    Weighting,
)
from maxent_ray.core.weightings.coefficients import GroupValues, coefficients, log_q_of
from maxent_ray.core.weightings.pass_at_k import pass_at_k_advantages

G = 6
REWARDS = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 0, 1]]).double()
LOGPROBS = -3 * torch.rand(4, G, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
TOKENS = torch.randint(1, 9, (4, G), generator=torch.Generator().manual_seed(4)).double()
MOST = 8
LENGTHS = TOKENS / MOST
WITHOUT_WEIGHTS: list[Weighting] = [
    GRPOWeighting(),
    GRPOWeighting(normalization="none"),
    PassAtKWeighting(k=3),
    UCPOWeighting(),
    UnlikelinessWeighting(),
    EntropicWeighting(),
    RepoRWeighting(),
]
ALL: list[Weighting] = [MaxEntWeighting(), MaxEntWeighting(reference="loss"), ListwiseWeighting(), *WITHOUT_WEIGHTS]


def named(weighting: Weighting) -> str:
    return "-".join(str(value) for value in vars(weighting).values() if isinstance(value, str))


def found(weighting: Weighting, tau: float | Tensor, rewards: Tensor = REWARDS, logprobs: Tensor = LOGPROBS) -> Tensor:
    """Coefficients of groups whose weights, if any, are w ∝ exp(log q/τ)."""
    lengths = LENGTHS[: len(rewards)]
    log_q = log_q_of(weighting, rewards, lengths)
    weights = None if log_q is None else group_weights(log_q, torch.zeros_like(log_q), tau, 0.0)
    return coefficients(weighting, GroupValues(rewards, logprobs, lengths, weights), tau)


def standardised(rewards: Any) -> Any:
    """(r − mean)/(s + 1e-4) with s the unbiased standard deviation, in numpy."""
    return (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-4)


def grpo(rewards: Any, logprobs: Any, tokens: Any, tau: float) -> Any:
    return standardised(rewards) / G


def dr_grpo(rewards: Any, logprobs: Any, tokens: Any, tau: float) -> Any:
    """The sum of A_i·log π over tokens, by T_max; log π̄ is this sum by T_i."""
    return (rewards - rewards.mean()) / MOST * tokens / G


def maxent(rewards: Any, logprobs: Any, tokens: Any, tau: float) -> Any:
    q = (1 - 1e-6) * np.exp(rewards) / np.exp(rewards).sum() + 1e-6 / G
    return q ** (1 / tau) / (q ** (1 / tau)).sum() - 1 / G


def listwise(rewards: Any, logprobs: Any, tokens: Any, tau: float) -> Any:
    """A row's loss is Dr.GRPO's, times ω_i = G softmax(U/τ)_i."""
    scaled = np.exp((rewards - rewards.mean()) * tokens / MOST / tau)
    return G * scaled / scaled.sum() * dr_grpo(rewards, logprobs, tokens, tau)


def ucpo(rewards: Any, logprobs: Any, tokens: Any, tau: float) -> Any:
    advantages, right = standardised(rewards), rewards == 1
    q = np.exp(logprobs[right]) / np.exp(logprobs[right]).sum()
    count = right.sum()
    advantages[right] *= count * ((1 - tau) / count + tau * (1 / q) / (1 / q).sum())
    return advantages / G


def unlikeliness(rewards: Any, logprobs: Any, tokens: Any, tau: float) -> Any:
    rank = np.array([(logprobs < own).sum() for own in logprobs])
    return standardised(rewards * (1 - tau * rank / G)) / G


def entropic(rewards: Any, logprobs: Any, tokens: Any, tau: float) -> Any:
    alpha = 1 - tau
    return standardised(rewards) * np.where(rewards == 1, 1 + alpha, 1 - alpha) / G


def repo_r(rewards: Any, logprobs: Any, tokens: Any, tau: float) -> Any:
    advantages = standardised(rewards)
    raised = np.maximum(0, advantages * (1 - tau * logprobs))
    return np.where(rewards == 1, raised, np.minimum(0, advantages * (1 + tau * logprobs))) / G


FORMULAS: list[tuple[Weighting, Callable[..., Any], float]] = [
    (MaxEntWeighting(), maxent, 0.3),
    (GRPOWeighting(), grpo, 0.3),
    (GRPOWeighting(normalization="none"), dr_grpo, 0.3),
    (ListwiseWeighting(), listwise, 0.05),
    (UCPOWeighting(), ucpo, 0.2),
    (UnlikelinessWeighting(), unlikeliness, 0.25),
    (EntropicWeighting(), entropic, 1.3),
    (RepoRWeighting(), repo_r, 0.01),
    (RepoRWeighting(), repo_r, 0.8),  # where the products change their sign, and are cut at 0
]


@pytest.mark.parametrize(
    ("weighting", "formula", "tau"), FORMULAS, ids=[f"{formula.__name__}-{tau}" for _, formula, tau in FORMULAS]
)
def test_coefficients_are_the_formula_written_out(
    weighting: Weighting, formula: Callable[..., Any], tau: float
) -> None:
    made = found(weighting, tau)
    for row in range(len(REWARDS)):
        expected = formula(*(values[row].numpy().copy() for values in (REWARDS, LOGPROBS, TOKENS)), tau)
        np.testing.assert_allclose(made[row].numpy(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("k", range(1, G + 1))
@pytest.mark.parametrize("correct", range(G + 1))
def test_pass_at_k_is_the_mean_over_all_sets_of_k_that_an_answer_is_in(correct: int, k: int) -> None:
    """Chen et al. before their closed form: the reward of a set is its best answer's, standardised over all sets."""
    right = [index < correct for index in range(G)]
    sets = list(combinations(range(G), k))
    passed = [float(any(right[index] for index in chosen)) for chosen in sets]
    mean, spread = fmean(passed), pstdev(passed)
    by_answer = [
        fmean((value - mean) / spread for value, chosen in zip(passed, sets, strict=True) if answer in chosen)
        if spread > 0
        else 0.0
        for answer in range(G)
    ]
    closed = pass_at_k_advantages(G, correct, k)
    assert by_answer == pytest.approx([closed.right if each else closed.wrong for each in right], abs=1e-12)
    made = found(PassAtKWeighting(k=k), 0.3, torch.tensor([right], dtype=torch.float64), LOGPROBS[:1])
    assert made[0].tolist() == pytest.approx([value / G for value in by_answer], abs=1e-12)


def test_pass_at_k_golden_values() -> None:
    """n = 4, c = 1, k = 2: R̄ = 1 − 3/6 = ½, σ = ½, A⁺ = 1, A⁻ = (½ − C(2,1)/C(3,1))/½ = −⅓."""
    assert pass_at_k_advantages(4, 1, 2) == pytest.approx((1.0, -1 / 3))


# --- limits and invariances ---


@pytest.mark.parametrize(
    ("weighting", "tau"),
    [
        pytest.param(UCPOWeighting(), 0.0, id="ucpo"),
        pytest.param(UnlikelinessWeighting(), 0.0, id="unlikeliness"),
        pytest.param(EntropicWeighting(), 1.0, id="entropic"),
        pytest.param(RepoRWeighting(), 0.0, id="repo_r"),
    ],
)
def test_without_its_effect_a_weighting_is_grpo(weighting: Weighting, tau: float) -> None:
    torch.testing.assert_close(found(weighting, tau), found(GRPOWeighting(), 0.3), rtol=1e-15, atol=0)


def test_listwise_weights_at_an_infinite_temperature_are_dr_grpo() -> None:
    dr_grpo = found(GRPOWeighting(normalization="none"), 0.3)
    torch.testing.assert_close(found(ListwiseWeighting(), 1e9), dr_grpo, rtol=1e-8, atol=0)


def test_pass_at_1_is_grpo_without_the_unbiased_deviation() -> None:
    """k = 1: R̄ = c/n and σ = √(R̄(1−R̄)), the biased standard deviation."""
    centred = REWARDS - REWARDS.mean(-1, keepdim=True)
    expected = centred / REWARDS.std(-1, keepdim=True, correction=0) / G
    torch.testing.assert_close(found(PassAtKWeighting(k=1), 0.3), expected)


@pytest.mark.parametrize("weighting", ALL, ids=named)
@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_groups_whose_rewards_tie_move_nothing(weighting: Weighting, reward: float) -> None:
    """But for the unlikeliness reward, which tells right answers apart by their likelihood."""
    made = found(weighting, 0.2, torch.full((4, G), reward, dtype=torch.float64))
    if isinstance(weighting, UnlikelinessWeighting) and reward == 1:
        assert (made.argsort(-1) == (-LOGPROBS).argsort(-1)).all()  # the least likely one is raised most
    else:
        torch.testing.assert_close(made, torch.zeros_like(made), rtol=0, atol=1e-16)


@pytest.mark.parametrize("weighting", ALL, ids=named)
def test_coefficients_follow_the_answers_wherever_they_stand(weighting: Weighting) -> None:
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    log_q = log_q_of(weighting, REWARDS, LENGTHS)
    weights = None if log_q is None else log_q.softmax(-1)
    straight = coefficients(weighting, GroupValues(REWARDS, LOGPROBS, LENGTHS, weights), 0.2)
    values = (REWARDS[:, order], LOGPROBS[:, order], LENGTHS[:, order])
    moved = GroupValues(*values, None if weights is None else weights[:, order])
    shuffled = coefficients(weighting, moved, 0.2)
    torch.testing.assert_close(shuffled, straight[:, order], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "weighting",
    [each for each in ALL if not isinstance(each, ListwiseWeighting | RepoRWeighting) and "none" not in named(each)],
    ids=named,
)
def test_the_total_of_a_group_is_left_alone(weighting: Weighting) -> None:
    """Scaling all its answers' probabilities alike moves nothing (at EntroPIC's τ = 1)."""
    tau = 1.0 if isinstance(weighting, EntropicWeighting) else 0.2
    total = found(weighting, tau).sum(-1)
    torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-14)


# --- τ as a coefficient ---


@pytest.mark.parametrize("weighting", [each for each in ALL if each.tau is not None], ids=named)
def test_coefficients_are_differentiable_in_tau(weighting: Weighting) -> None:
    tau = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    probe = torch.rand(4, G, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (slope,) = torch.autograd.grad((found(weighting, tau) * probe).sum(), tau)
    h = 1e-5
    central = ((found(weighting, 0.4 + h) - found(weighting, 0.4 - h)) * probe).sum() / (2 * h)
    torch.testing.assert_close(slope, central, rtol=1e-7, atol=1e-9)
    assert slope != 0


@pytest.mark.parametrize(
    "weighting",
    [MaxEntWeighting(), UCPOWeighting(), UnlikelinessWeighting(), RepoRWeighting()],
    ids=named,
)
def test_a_larger_tau_means_more_entropy(weighting: Weighting) -> None:
    """dH/dτ of a policy over six answers after one step on a group of all of them; the right ones are likely.

    EntroPIC's sign is an empirical one: it depends on how likely wrong answers are.
    """
    logits = torch.tensor([2.0, 1.5, 1.0, -1.0, -1.5, -2.0], dtype=torch.float64, requires_grad=True)
    rewards = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    tau = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    logprobs = logits.log_softmax(-1)[None]
    made = found(weighting, tau, rewards, logprobs.detach())
    loss = coefficient_loss(made, logprobs, torch.zeros((), dtype=torch.float64), 0.0)
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    after = (logits.detach() - 0.5 * gradient).log_softmax(-1)
    (slope,) = torch.autograd.grad(-(after.exp() * after).sum(), tau)
    assert slope > 0


# --- bad input ---


@pytest.mark.parametrize("weighting", [MaxEntWeighting(), ListwiseWeighting()], ids=named)
def test_weights_that_are_not_given_are_an_error(weighting: Weighting) -> None:
    with pytest.raises(ValueError, match=f"the weights of weighting {weighting.type} are not given"):
        coefficients(weighting, GroupValues(REWARDS, LOGPROBS, LENGTHS), 0.2)
