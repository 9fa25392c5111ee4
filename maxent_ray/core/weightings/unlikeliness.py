"""Unlikeliness reward: a right answer that the policy was sure of earns less."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from maxent_ray.core.weighting import Coefficient
from maxent_ray.core.weightings.advantages import group_advantages


def unlikeliness_coefficients(
    rewards: Float[Tensor, "B G"], mean_logprobs: Float[Tensor, "B G"], tau: Coefficient
) -> Float[Tensor, "B G"]:
    """Coefficients A_i/G of the rewards r_i·(1 − τ·rank_i/G), standardised afterwards; rank 0 is the least likely.

    A group whose answers are all right is not tied here: its likely answers are lowered. With τ = 0 it is GRPO.

    Args:
        rewards: ``[B, G]`` rewards, ≥ 0: of one below 0 a discount makes more.
        mean_logprobs: ``[B, G]`` mean-token log π_θ (nats), detached; ties rank by position.
        tau: τ in [0, 1], the largest discount.

    Example:
        >>> import torch
        >>> rewards, logprobs = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[-4.0, -3.0, -1.0, -2.0]])
        >>> unlikeliness_coefficients(rewards, logprobs, tau=0.25).round(decimals=3)  # of rewards 0, 0, 13/16, 7/8
        tensor([[-0.2160, -0.2160,  0.2000,  0.2320]])

    Source: He et al. 2025, "Rewarding the unlikely", arXiv:2506.02355.
    """
    ranks = mean_logprobs.argsort(dim=-1, stable=True).argsort(dim=-1).to(rewards.dtype)
    discounted = rewards * (1 - tau * ranks / rewards.shape[-1])
    return group_advantages(discounted) / rewards.shape[-1]
