"""UCPO: among a group's right answers, advantage moves from the likely ones to the unlikely ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from maxent_ray.core.weighting import Coefficient
from maxent_ray.core.weightings.advantages import group_advantages


def ucpo_coefficients(
    rewards: Float[Tensor, "B G"], mean_logprobs: Float[Tensor, "B G"], tau: Coefficient
) -> Float[Tensor, "B G"]:
    """Coefficients A_i/G, those of right answers times n_c·[(1−τ)/n_c + τ·(1/q_i)/Σ(1/q)].

    q = softmax(mean log p) among the n_c right answers, A is standardised, right is A > 0. With one right answer, and
    with τ = 0, these are GRPO's. Where right answers have equal rewards their sum is GRPO's too.

    Args:
        rewards: ``[B, G]`` rewards, 0 or 1.
        mean_logprobs: ``[B, G]`` mean-token log π_θ (nats), detached.
        tau: τ in [0, 1].

    Example:
        >>> rewards, logprobs = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[-1.0, -1.0, -1.0, -2.0]])
        >>> ucpo_coefficients(rewards, logprobs, tau=0.2).round(decimals=3)  # .216 without the move
        tensor([[-0.2160, -0.2160,  0.1960,  0.2360]])

    Source: UCPO, arXiv:2605.00365.
    """
    advantages = group_advantages(rewards)
    right = advantages > 0
    count = right.sum(dim=-1, keepdim=True).to(rewards.dtype)
    # 1/q_i over Σ(1/q) is softmax(−log p); a group without right answers keeps finite scores, which nothing reads
    share = torch.softmax((-mean_logprobs).masked_fill(~right & (count > 0), -torch.inf), dim=-1)
    factor = torch.where(right, 1 - tau + tau * count * share, 1.0)
    return advantages * factor / rewards.shape[-1]
