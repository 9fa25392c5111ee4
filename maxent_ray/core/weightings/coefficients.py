"""One function over all weightings: from a group's values to the coefficients of its answers' log-probabilities."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from maxent_ray.core.weighting import Coefficient, listwise_log_q
from maxent_ray.core.weightings.advantages import group_advantages
from maxent_ray.core.weightings.entropic import entropic_coefficients
from maxent_ray.core.weightings.listwise import listwise_coefficients, utilities
from maxent_ray.core.weightings.pass_at_k import pass_at_k_coefficients
from maxent_ray.core.weightings.repo_r import repo_r_coefficients
from maxent_ray.core.weightings.settings import (
    EntropicWeighting,
    GRPOWeighting,
    ListwiseWeighting,
    MaxEntWeighting,
    PassAtKWeighting,
    RepoRWeighting,
    UCPOWeighting,
    UnlikelinessWeighting,
    Weighting,
)
from maxent_ray.core.weightings.ucpo import ucpo_coefficients
from maxent_ray.core.weightings.unlikeliness import unlikeliness_coefficients


class GroupValues(NamedTuple):
    """Values of groups that coefficients are formed from; no gradient in θ flows through them.

    Example:
        >>> import torch
        >>> GroupValues(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2)).weights is None
        True
    """

    rewards: Float[Tensor, "B G"]
    mean_logprobs: Float[Tensor, "B G"]
    """Mean-token log π_θ of each completion (nats), detached."""
    lengths: Float[Tensor, "B G"]
    """Tokens of each completion as a share of the most that are allowed."""
    weights: Float[Tensor, "B G"] | None = None
    """Weights w at τ and β, of a weighting that has some."""


def log_q_of(
    weighting: Weighting, rewards: Float[Tensor, "B G"], lengths: Float[Tensor, "B G"]
) -> Float[Tensor, "B G"] | None:
    """Logarithm, up to a constant a row, of the distribution that weights follow at τ = 1; None without weights.

    Args:
        weighting: Settings.
        rewards: ``[B, G]`` rewards.
        lengths: ``[B, G]`` tokens of each completion as a share of the most that are allowed.

    Example:
        >>> import torch
        >>> log_q_of(ListwiseWeighting(), torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 1.0]]))
        tensor([[-0.2500,  0.5000]])
    """
    match weighting:
        case MaxEntWeighting():
            return listwise_log_q(rewards, weighting.q_temperature, weighting.q_epsilon)
        case ListwiseWeighting():
            return utilities(rewards, lengths)
        case _:
            return None


def coefficients(weighting: Weighting, values: GroupValues, tau: Coefficient) -> Float[Tensor, "B G"]:
    """Coefficients c_i of log π̄_θ(y_i), of which the policy loss is −Σ_i c_i·log π̄_θ(y_i) + β·KL, a mean over groups.

    Differentiable in τ (and in β through the weights), and safe under ``torch.func``.

    Args:
        weighting: Settings.
        values: Of the groups.
        tau: τ, the weighting's coefficient; not used by one that has none, nor where weights are given.

    Returns:
        ``[B, G]``, without unit. Those of ``listwise``, ``entropic``, ``repo_r`` and Dr.GRPO do not sum to 0 over a
        group: they move the total of its log-probabilities too.

    Raises:
        ValueError: the weighting has weights, and they are not given.

    Example:
        >>> import torch
        >>> values = GroupValues(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2), torch.tensor([[1.0, 0.5]]))
        >>> coefficients(GRPOWeighting(normalization="none"), values, tau=0.3)
        tensor([[-0.2500,  0.1250]])
    """
    rewards, logprobs, size = values.rewards, values.mean_logprobs, values.rewards.shape[-1]
    match weighting:
        case MaxEntWeighting():
            return _given(values, weighting) - 1.0 / size
        case ListwiseWeighting():
            return listwise_coefficients(utilities(rewards, values.lengths), _given(values, weighting))
        case GRPOWeighting():
            standardises = weighting.normalization == "std"
            return (group_advantages(rewards) if standardises else utilities(rewards, values.lengths)) / size
        case PassAtKWeighting():
            return pass_at_k_coefficients(rewards, weighting.k)
        case UCPOWeighting():
            return ucpo_coefficients(rewards, logprobs, tau)
        case UnlikelinessWeighting():
            return unlikeliness_coefficients(rewards, logprobs, tau)
        case EntropicWeighting():
            return entropic_coefficients(rewards, tau)
        case RepoRWeighting():
            return repo_r_coefficients(rewards, logprobs, tau)


def _given(values: GroupValues, weighting: Weighting) -> Float[Tensor, "B G"]:
    if values.weights is None:
        raise ValueError(f"the weights of weighting {weighting.type} are not given")
    return values.weights
