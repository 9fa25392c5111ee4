"""EntroPIC: right answers against wrong ones. Less of the right and more of the wrong raises the entropy."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from maxent_ray.core.weighting import Coefficient
from maxent_ray.core.weightings.advantages import group_advantages


def entropic_coefficients(rewards: Float[Tensor, "B G"], tau: Coefficient) -> Float[Tensor, "B G"]:
    """Coefficients A_i/G, times 2 − τ where A > 0 and times τ where A < 0; A is standardised. τ = 1 is GRPO.

    In the paper's α these are 1 + α and 1 − α, so that α = 1 − τ: a larger τ is for more entropy, as everywhere.
    That it gives more is the paper's finding on language models, and no theorem.

    Args:
        rewards: ``[B, G]`` rewards.
        tau: τ in [0, 2].

    Example:
        >>> import torch
        >>> entropic_coefficients(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), tau=1.5).round(decimals=3)
        tensor([[-0.3250, -0.3250,  0.1080,  0.1080]])

    Source: EntroPIC, arXiv:2511.15248.
    """
    advantages = group_advantages(rewards)
    right, wrong = advantages.clamp(min=0), advantages.clamp(max=0)
    return ((2 - tau) * right + tau * wrong) / rewards.shape[-1]
