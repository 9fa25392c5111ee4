"""Policy losses of one batch of groups: maximum-entropy GRPO, and plain GRPO as the baseline.

Both are policy-gradient surrogates: their gradient in θ is meaningful, their value is not. They stay
differentiable in τ and β, which is what the truncated-backprop objective needs.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def maxent_loss(
    weights: Float[Tensor, "B G"],
    mean_logprobs: Float[Tensor, "B G"],
    mean_token_kl: Float[Tensor, ""],
    beta: Tensor | float,
) -> Float[Tensor, ""]:
    """Maximum-entropy GRPO: mean over groups of −Σ_i (w_i − 1/G)·log π̄_θ(y_i), plus β·KL(π_θ‖π_ref) per token.

    The baseline 1/G makes uniform weights a fixed point: a group that carries no preference moves nothing.

    Args:
        weights: ``[B, G]`` weights w; no gradient flows to θ through them, gradients in τ and β may.
        mean_logprobs: ``[B, G]`` mean-token log π_θ of each completion (nats).
        mean_token_kl: Mean KL(π_θ‖π_ref) over the batch's tokens (nats per token).
        beta: KL coefficient β.

    Returns:
        A 0-dim tensor.

    Example:
        >>> import torch
        >>> uniform = torch.full((1, 4), 0.25)
        >>> maxent_loss(uniform, torch.randn(1, 4), torch.tensor(0.0), beta=0.1).item()
        0.0
    """
    surplus = weights - 1.0 / weights.shape[-1]
    return -(surplus * mean_logprobs).sum(dim=-1).mean() + beta * mean_token_kl


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

    Example:
        >>> import torch
        >>> group_advantages(torch.tensor([[0.0, 0.0, 1.0, 1.0]])).round(decimals=2)
        tensor([[-0.8700, -0.8700,  0.8700,  0.8700]])
    """
    centred = rewards - rewards.mean(dim=-1, keepdim=True)
    return centred / (rewards.std(dim=-1, keepdim=True) + epsilon)


def grpo_loss(
    advantages: Float[Tensor, "B G"],
    mean_logprobs: Float[Tensor, "B G"],
    mean_token_kl: Float[Tensor, ""],
    beta: Tensor | float,
) -> Float[Tensor, ""]:
    """Plain GRPO on one on-policy step: −mean A_i·log π̄_θ(y_i) + β·KL per token.

    With one optimiser step a batch the importance ratio is one, so the clipped surrogate has this gradient.

    Args:
        advantages: ``[B, G]`` :func:`group_advantages`.
        mean_logprobs: As in :func:`maxent_loss`.
        mean_token_kl: As in :func:`maxent_loss`.
        beta: As in :func:`maxent_loss`.

    Returns:
        A 0-dim tensor.

    Example:
        >>> import torch
        >>> advantages, logprobs = torch.tensor([[-1.0, 1.0]]), torch.tensor([[-3.0, -1.0]])
        >>> grpo_loss(advantages, logprobs, torch.tensor(0.5), beta=0.2)  # -(3 - 1)/2 + .1
        tensor(-0.9000)

    Source: Shao et al. 2024, arXiv:2402.03300, eq. 3.

    Example:
        >>> import torch
        >>> advantages, mean_logprobs = torch.tensor([[-1.0, 1.0]]), torch.tensor([[-2.0, -1.0]])
        >>> grpo_loss(advantages, mean_logprobs, mean_token_kl=torch.tensor(0.5), beta=0.1)
        tensor(-0.4500)
    """
    return -(advantages * mean_logprobs).mean() + beta * mean_token_kl
