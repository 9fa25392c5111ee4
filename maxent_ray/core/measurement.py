"""Measure one batch: groups at the coefficients that it is trained with, once, and sums over groups and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from maxent_ray.core import weighting
from maxent_ray.core.statistics import BatchStatistics, CoefficientBounds

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class GroupMeasures(NamedTuple):
    """Groups weighted with one τ and β: what the policy loss trains on and the statistics count.

    Example:
        >>> flat = torch.zeros(1, 2)
        >>> measure_groups(flat, flat, flat, tau=0.3, beta=0.1).weights
        tensor([[0.5000, 0.5000]])
    """

    rewards: Float[Tensor, "B G"]
    log_q: Float[Tensor, "B G"]
    log_p: Float[Tensor, "B G"]
    """log p, normalised over the group (nats)."""
    tau: float
    beta: float
    weights: Float[Tensor, "B G"]
    entropy: Float[Tensor, "B"]
    """H(w), nats."""
    kl: Float[Tensor, "B"]
    """KL(w‖p), nats."""
    curvature: weighting.DualCurvature


def measure_groups(
    rewards: Float[Tensor, "B G"],
    log_q: Float[Tensor, "B G"],
    ref_logprobs: Float[Tensor, "B G"],
    tau: float,
    beta: float,
) -> GroupMeasures:
    """Weights of each group, their entropy and KL, and how these answer to τ and β.

    Args:
        rewards: ``[B, G]`` rewards.
        log_q: ``[B, G]`` log q of the rewards.
        ref_logprobs: ``[B, G]`` reference log-probabilities ρ (nats).
        tau: Entropy temperature τ.
        beta: KL coefficient β.

    Example:
        >>> flat = torch.zeros(1, 2)
        >>> measure_groups(flat, flat, flat, tau=0.3, beta=0.1).entropy
        tensor([0.6931])
    """
    log_p = torch.log_softmax(ref_logprobs, dim=-1)
    weights = weighting.group_weights(log_q, log_p, tau, beta)
    entropy = weighting.weight_entropy(weights)
    kl = -entropy - (weights * log_p).sum(dim=-1)
    curvature = weighting.dual_curvature(log_q, log_p, tau, beta, weights)
    return GroupMeasures(rewards, log_q, log_p, tau, beta, weights, entropy, kl, curvature)


def batch_statistics(
    groups: GroupMeasures,
    token_entropy: Float[Tensor, "N C"],
    token_kl: Float[Tensor, "N C"],
    token_mask: Bool[Tensor, "N C"],
    bounds: CoefficientBounds | None = None,
) -> BatchStatistics:
    """Sum up one batch.

    Args:
        groups: Measured with the coefficients that the batch was trained with.
        token_entropy: ``[N, C]`` policy entropy at each completion token (nats), N = B·G.
        token_kl: ``[N, C]`` KL(π_θ‖π_ref) at each completion token (nats).
        token_mask: ``[N, C]`` True at completion tokens.
        bounds: Bounds of τ and β; given, the batch also tells what H(w) and KL(w‖p) they can reach.

    Returns:
        Sums and counts as Python numbers.

    Example:
        >>> flat, tokens = torch.zeros(1, 2), torch.zeros(2, 3)
        >>> groups = measure_groups(flat, flat, flat, tau=0.3, beta=0.1)
        >>> batch_statistics(groups, tokens, tokens, tokens == 0).tokens
        6
    """
    rewards = groups.rewards
    tied = (rewards == rewards[:, :1]).all(dim=-1)
    sums = torch.stack(
        [
            tied.sum().double(),
            rewards.double().sum(),
            groups.entropy.double().sum(),
            groups.kl.double().sum(),
            token_entropy[token_mask].double().sum(),
            token_kl[token_mask].double().sum(),
            groups.curvature.tau_tau.double().sum(),
            groups.curvature.tau_beta.double().sum(),
            -groups.curvature.beta_beta.double().sum(),
            token_mask.sum().double(),
            *(_at_bounds(groups, bounds) if bounds is not None else ()),
        ]
    ).tolist()  # one transfer from the device
    at_bounds = dict(zip(_AT_BOUNDS, sums[10:], strict=bounds is not None))
    return BatchStatistics(
        groups=rewards.shape[0],
        completions=rewards.numel(),
        tokens=int(sums[9]),
        tied_groups=int(sums[0]),
        reward_sum=sums[1],
        weight_entropy_sum=sums[2],
        weight_kl_sum=sums[3],
        policy_entropy_sum=sums[4],
        policy_kl_sum=sums[5],
        entropy_tau_sum=sums[6],
        entropy_beta_sum=sums[7],
        kl_beta_sum=sums[8],
        ranged_groups=0 if bounds is None else rewards.shape[0],
        **at_bounds,
    )


_AT_BOUNDS = ("entropy_at_tau_min_sum", "entropy_at_tau_max_sum", "kl_at_beta_min_sum", "kl_at_beta_max_sum")


def _at_bounds(groups: GroupMeasures, bounds: CoefficientBounds) -> Float[Tensor, "4"]:
    """Sums over groups of H(w) at both bounds of τ, and of KL(w‖p) at both bounds of β."""
    places = torch.tensor(
        [*((value, groups.beta) for value in bounds.tau), *((groups.tau, value) for value in bounds.beta)],
        dtype=groups.log_q.dtype,
        device=groups.log_q.device,
    )
    taus, betas = places.T[..., None, None]
    weights = weighting.group_weights(groups.log_q, groups.log_p, taus, betas)
    entropies, kls = weighting.weight_entropy(weights[:2]), weighting.weight_kl(weights[2:], groups.log_p)
    return torch.cat([entropies, kls]).double().sum(dim=-1)
