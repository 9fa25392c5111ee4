"""Listwise weights of xDr.GRPO: each row's loss times ω_i = G·softmax_i(U/τ)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from maxent_ray.core.weightings.advantages import centred_advantages


def listwise_utilities(
    rewards: Float[Tensor, "B G"], tokens: Float[Tensor, "B G"], max_tokens: int
) -> Float[Tensor, "B G"]:
    """Utilities U_i = (r_i − mean r)·T_i/T_max, whose softmax at temperature τ are the weights.

    Args:
        rewards: ``[B, G]`` rewards.
        tokens: ``[B, G]`` tokens T_i of each completion.
        max_tokens: T_max, the longest completion that is allowed.

    Returns:
        ``[B, G]``, in units of reward. It takes the place of log q in weights without a reference.

    Example:
        >>> import torch
        >>> listwise_utilities(torch.tensor([[0.0, 1.0]]), torch.tensor([[4.0, 2.0]]), max_tokens=4)
        tensor([[-0.5000,  0.2500]])

    Source: xDr.GRPO, the upstream project of ``maxent_grpo``'s controller.
    """
    return centred_advantages(rewards) * tokens / max_tokens


def listwise_coefficients(rewards: Float[Tensor, "B G"], weights: Float[Tensor, "B G"]) -> Float[Tensor, "B G"]:
    """Coefficients ω_i·A_i/G = w_i·(r_i − mean r); with uniform weights those of Dr.GRPO.

    Args:
        rewards: ``[B, G]`` rewards.
        weights: ``[B, G]`` w = softmax(U/τ).

    Example:
        >>> import torch
        >>> listwise_coefficients(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.25, 0.75]]))
        tensor([[-0.1250,  0.3750]])

    Source: xDr.GRPO, as :func:`listwise_utilities`.
    """
    return weights * centred_advantages(rewards)
