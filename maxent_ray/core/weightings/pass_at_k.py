"""Advantages for pass@k: an answer counts by what it does to the best of k."""

from __future__ import annotations

from math import comb, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class PassAtK(NamedTuple):
    """Advantages of the right and the wrong answers of one group."""

    right: float
    wrong: float


def pass_at_k_advantages(group_size: int, correct: int, k: int) -> PassAtK:
    """Advantages of right and wrong answers where ``correct`` of ``group_size`` are right, standardised.

    With R̄ = 1 − C(n−c, k)/C(n, k) and σ = √(R̄(1−R̄)): A⁺ = (1−R̄)/σ and A⁻ = (1 − R̄ − C(n−c−1, k−1)/C(n−1, k−1))/σ.
    0 where every set of k, or none, has a right answer.

    Args:
        group_size: n.
        correct: c right answers, 0 … n.
        k: Answers of which one must be right, 1 … n.

    Example:
        >>> [round(value, 4) for value in pass_at_k_advantages(4, correct=1, k=2)]  # R = 1/2
        [1.0, -0.3333]

    Source: Chen et al. 2025, "Pass@k training", arXiv:2508.10751 (analytical derivation).
    """
    wrong = group_size - correct
    passed = 1 - comb(wrong, k) / comb(group_size, k)
    spread = sqrt(passed * (1 - passed))
    if spread == 0:
        return PassAtK(0.0, 0.0)
    others = comb(wrong - 1, k - 1) / comb(group_size - 1, k - 1)  # without it a group of a wrong answer fails
    return PassAtK((1 - passed) / spread, (1 - passed - others) / spread)


def pass_at_k_coefficients(rewards: Float[Tensor, "B G"], k: int) -> Float[Tensor, "B G"]:
    """Coefficients A_i/G of :func:`pass_at_k_advantages`; right are the answers above the group's mean reward.

    Args:
        rewards: ``[B, G]`` rewards, 0 or 1.
        k: Answers of which one must be right.

    Example:
        >>> pass_at_k_coefficients(torch.tensor([[0.0, 1.0, 0.0, 0.0]]), k=2)
        tensor([[-0.0833,  0.2500, -0.0833, -0.0833]])

    Source: as :func:`pass_at_k_advantages`.
    """
    size = rewards.shape[-1]
    right = rewards > rewards.mean(dim=-1, keepdim=True)
    by_count = rewards.new_tensor([pass_at_k_advantages(size, correct, k) for correct in range(size + 1)])
    of_right, of_wrong = by_count[right.sum(dim=-1, keepdim=True)].unbind(dim=-1)
    return torch.where(right, of_right, of_wrong) / size
