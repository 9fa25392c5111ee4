"""Advantages within a group: centred, standardised; the coefficients of plain GRPO are these over G."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def centred_advantages(rewards: Float[Tensor, "B G"]) -> Float[Tensor, "B G"]:
    """Advantages r − mean within each group, in the unit of rewards.

    Example:
        >>> import torch
        >>> centred_advantages(torch.tensor([[0.0, 1.0, 1.0, 0.0]]))
        tensor([[-0.5000,  0.5000,  0.5000, -0.5000]])

    Source: Liu et al. 2025, "Understanding R1-Zero-like training" (Dr.GRPO), arXiv:2503.20783.
    """
    return rewards - rewards.mean(dim=-1, keepdim=True)


def group_advantages(rewards: Float[Tensor, "B G"], epsilon: float = 1e-4) -> Float[Tensor, "B G"]:
    """Standardised advantages, (r − mean)/(std + ε) within each group.

    Args:
        rewards: ``[B, G]`` rewards, any unit.
        epsilon: Keeps the quotient finite where all rewards of a group tie; in units of reward.

    Returns:
        ``[B, G]``, without unit; 0 in tied groups.

    Example:
        >>> import torch
        >>> group_advantages(torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
        tensor([[-0.7070,  0.7070],
                [ 0.0000,  0.0000]])

    Source: Shao et al. 2024, DeepSeekMath, arXiv:2402.03300, section 4.1.2 (outcome supervision).
    """
    return centred_advantages(rewards) / (rewards.std(dim=-1, keepdim=True) + epsilon)
