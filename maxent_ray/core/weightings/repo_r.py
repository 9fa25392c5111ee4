"""REPO-R: advantages tilted towards answers that the policy finds unlikely, right or wrong."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from maxent_ray.core.weighting import Coefficient
from maxent_ray.core.weightings.advantages import group_advantages


def repo_r_coefficients(
    rewards: Float[Tensor, "B G"], mean_logprobs: Float[Tensor, "B G"], tau: Coefficient
) -> Float[Tensor, "B G"]:
    """Coefficients A_i/G, with max(0, A(1 − τ log p)) where A > 0 and min(0, A(1 + τ log p)) where A < 0.

    A is standardised, log p the mean over an answer's tokens. With τ = 0 it is GRPO.

    Args:
        rewards: ``[B, G]`` rewards.
        mean_logprobs: ``[B, G]`` mean-token log π_θ (nats), detached.
        tau: τ ≥ 0, the paper's ζ.

    Example:
        >>> rewards, logprobs = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[-1.0, -20.0, -1.0, -2.0]])
        >>> repo_r_coefficients(rewards, logprobs, tau=0.1).round(decimals=3)  # .216 times -.9, 0, 1.1, 1.2
        tensor([[-0.1950,  0.0000,  0.2380,  0.2600]])

    Source: REPO, arXiv:2603.11682.
    """
    advantages = group_advantages(rewards)
    raised = (advantages * (1 - tau * mean_logprobs)).clamp(min=0)
    lowered = (advantages * (1 + tau * mean_logprobs)).clamp(max=0)
    return torch.where(advantages > 0, raised, lowered) / rewards.shape[-1]
