"""Policy loss of one batch of groups: one function of the coefficients that a weighting gives, and of β.

It is a policy-gradient surrogate: its gradient in θ is meaningful, its value is not. It stays differentiable in τ and
β, which is what the truncated-backprop objective needs.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def coefficient_loss(
    coefficients: Float[Tensor, "B G"],
    mean_logprobs: Float[Tensor, "B G"],
    mean_token_kl: Float[Tensor, ""],
    beta: Tensor | float,
) -> Float[Tensor, ""]:
    """Policy loss of one on-policy step: mean over groups of −Σ_i c_i·log π̄_θ(y_i), plus β·KL(π_θ‖π_ref) per token.

    With one optimiser step a batch the importance ratio is one, so GRPO's clipped surrogate has this gradient, with
    its advantages over G as coefficients.

    Args:
        coefficients: ``[B, G]`` c, from :func:`~maxent_ray.core.weightings.coefficients.coefficients`; no gradient
            flows to θ through them, gradients in τ and β may.
        mean_logprobs: ``[B, G]`` mean-token log π_θ of each completion (nats).
        mean_token_kl: Mean KL(π_θ‖π_ref) over the batch's tokens (nats per token).
        beta: KL coefficient β.

    Returns:
        A 0-dim tensor.

    Example:
        >>> import torch
        >>> coefficients, mean_logprobs = torch.tensor([[-0.5, 0.5]]), torch.tensor([[-2.0, -1.0]])
        >>> coefficient_loss(coefficients, mean_logprobs, mean_token_kl=torch.tensor(0.5), beta=0.1)
        tensor(-0.4500)

    Source: Shao et al. 2024, DeepSeekMath, arXiv:2402.03300, eq. 3, with the coefficients of GRPO.
    """
    return -(coefficients * mean_logprobs).sum(dim=-1).mean() + beta * mean_token_kl


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
    return coefficient_loss(weights - 1.0 / weights.shape[-1], mean_logprobs, mean_token_kl, beta)
