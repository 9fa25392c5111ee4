"""Listwise weights of xDr.GRPO: each row's loss times ω_i = G·softmax_i(U/τ)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from maxent_ray.core.weightings.advantages import centred_advantages


def utilities(rewards: Float[Tensor, "B G"], lengths: Float[Tensor, "B G"]) -> Float[Tensor, "B G"]:
    """Utilities U_i = (r_i − mean r)·T_i/T_max: what Dr.GRPO multiplies the mean-token log-probability by.

    Dr.GRPO sums over tokens and divides by one constant, so that a longer completion counts for more.

    Args:
        rewards: ``[B, G]`` rewards.
        lengths: ``[B, G]`` tokens of each completion as a share of the most that are allowed, T_i/T_max.

    Returns:
        ``[B, G]``, in units of reward. In listwise weights it takes the place of log q.

    Example:
        >>> import torch
        >>> utilities(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.5]]))
        tensor([[-0.5000,  0.2500]])

    Source: Liu et al. 2025, "Understanding R1-Zero-like training" (Dr.GRPO), arXiv:2503.20783, section 3.2.
    """
    return centred_advantages(rewards) * lengths


def listwise_coefficients(values: Float[Tensor, "B G"], weights: Float[Tensor, "B G"]) -> Float[Tensor, "B G"]:
    """Coefficients ω_i·U_i/G = w_i·U_i; with uniform weights those of Dr.GRPO.

    Args:
        values: ``[B, G]`` utilities U.
        weights: ``[B, G]`` w = softmax(U/τ).

    Example:
        >>> import torch
        >>> listwise_coefficients(torch.tensor([[-0.5, 0.25]]), torch.tensor([[0.25, 0.75]]))
        tensor([[-0.1250,  0.1875]])

    Source: xDr.GRPO, the upstream project of ``maxent_grpo``'s controller.
    """
    return weights * values
