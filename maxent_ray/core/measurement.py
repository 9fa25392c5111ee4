"""Measurement of one batch: weights, entropy and KL of its groups, and sums over groups and tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maxent_ray.core import weighting
from maxent_ray.core.mode_entropy import mode_entropy
from maxent_ray.core.statistics import BatchStatistics, CoefficientBounds


class RewardedGroups(NamedTuple):
    """Groups of a weighting that has no weights: nothing but their rewards.

    Example:
        >>> RewardedGroups(torch.zeros(1, 2)).rewards.shape
        torch.Size([1, 2])
    """

    rewards: Float[Tensor, "B G"]


class GroupMeasures(NamedTuple):
    """Groups with their weights at one τ and β, for the policy loss and the statistics.

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
    """KL(w‖p), nats; of no use where the reference is not in the weights."""
    curvature: weighting.DualCurvature
    """dH/dτ, dH/dβ and −dKL(w‖p)/dβ; the last two are 0 without a reference in the weights."""
    reference_in_weights: bool = True
    """False: w ∝ q^(1/τ), whatever β is."""

    def weights_at(self, tau: float, beta: float) -> Float[Tensor, "B G"]:
        """The weights at other coefficients.

        Example:
            >>> log_q, flat = torch.tensor([[0.0, -1.0]]), torch.zeros(1, 2)
            >>> measure_groups(flat, log_q, flat, tau=1.0, beta=0.0).weights_at(0.5, 0.0)
            tensor([[0.8808, 0.1192]])
        """
        chosen = weighting.weight_coefficients(tau, beta, self.reference_in_weights)
        return weighting.group_weights(self.log_q, self.log_p, *chosen)


def measure_groups(
    rewards: Float[Tensor, "B G"],
    log_q: Float[Tensor, "B G"],
    ref_logprobs: Float[Tensor, "B G"],
    tau: float,
    beta: float,
    reference_in_weights: bool = True,
) -> GroupMeasures:
    """Weights of each group, their entropy and KL, and the derivatives of these in τ and β.

    Args:
        rewards: ``[B, G]`` rewards.
        log_q: ``[B, G]`` log q of the rewards.
        ref_logprobs: ``[B, G]`` reference log-probabilities ρ (nats).
        tau: Entropy temperature τ.
        beta: KL coefficient β.
        reference_in_weights: False for w ∝ q^(1/τ), which β has no part in.

    Example:
        >>> flat = torch.zeros(1, 2)
        >>> measure_groups(flat, flat, flat, tau=0.3, beta=0.1).entropy
        tensor([0.6931])
    """
    log_p = torch.log_softmax(ref_logprobs, dim=-1)
    chosen = weighting.weight_coefficients(tau, beta, reference_in_weights)
    weights = weighting.group_weights(log_q, log_p, *chosen)
    entropy = weighting.weight_entropy(weights)
    kl = weighting.weight_kl(weights, log_p)
    curvature = weighting.dual_curvature(log_q, log_p, *chosen, weights)
    if not reference_in_weights:
        still = torch.zeros_like(entropy)
        curvature = curvature._replace(tau_beta=still, beta_beta=still)
    return GroupMeasures(rewards, log_q, log_p, tau, beta, weights, entropy, kl, curvature, reference_in_weights)


def rewards_differ(rewards: Float[Tensor, "B G"]) -> Bool[Tensor, "B"]:
    """Mark the informative groups: those whose rewards are not all equal.

    Example:
        >>> rewards_differ(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
        tensor([False,  True])
    """
    return (rewards != rewards[:, :1]).any(dim=-1)


def batch_statistics(
    groups: GroupMeasures | RewardedGroups,
    token_entropy: Float[Tensor, "N C"],
    token_kl: Float[Tensor, "N C"],
    token_mask: Bool[Tensor, "N C"],
    bounds: CoefficientBounds | None = None,
    modes: Sequence[Sequence[str | None]] | None = None,
) -> BatchStatistics:
    """Sum up one batch.

    Args:
        groups: Measured with the coefficients that the batch was trained with; without weights there are no statistics
            of weights.
        token_entropy: ``[N, C]`` policy entropy at each completion token (nats), N = B·G.
        token_kl: ``[N, C]`` KL(π_θ‖π_ref) at each completion token (nats).
        token_mask: ``[N, C]`` True at completion tokens.
        bounds: Bounds of τ and β; if given, H(w) and KL(w‖p) at these bounds are measured too.
        modes: For each group, the modes of its answers, None for a wrong one; None: the task does not tell them, and
            ``mode_entropy`` is not measured.

    Returns:
        Sums and counts as Python numbers.

    Example:
        >>> flat, tokens = torch.zeros(1, 2), torch.zeros(2, 3)
        >>> groups = measure_groups(flat, flat, flat, tau=0.3, beta=0.1)
        >>> batch_statistics(groups, tokens, tokens, tokens == 0).tokens
        6
    """
    rewards = groups.rewards
    informative = rewards_differ(rewards)
    weighed = groups if isinstance(groups, GroupMeasures) else None
    ranged = weighed is not None and bounds is not None
    sums = {
        "informative_groups": informative.sum(),
        "tokens": token_mask.sum(),
        "reward_sum": rewards.double().sum(),
        "policy_entropy_sum": token_entropy[token_mask].double().sum(),
        "policy_kl_sum": token_kl[token_mask].double().sum(),
        **({} if weighed is None else _weight_sums(weighed, informative)),
        **({} if weighed is None or bounds is None else _sums_at_bounds(weighed, informative, bounds)),
    }
    numbers = torch.stack([each.double() for each in sums.values()]).tolist()  # one transfer from the device
    values = dict(zip(sums, numbers, strict=True))
    count, informative_count = rewards.shape[0], int(values.pop("informative_groups"))
    entropies = [found for found in map(mode_entropy, modes or ()) if found is not None]
    return BatchStatistics(
        groups=count,
        completions=rewards.numel(),
        tokens=int(values.pop("tokens")),
        tied_groups=count - informative_count,
        informative_groups=informative_count,
        solved_groups=len(entropies),
        mode_entropy_sum=None if modes is None else math.fsum(entropies),
        ranged_groups=count if ranged else 0,
        ranged_informative_groups=informative_count if ranged else 0,
        **values,
    )


def _sum_over(chosen: Bool[Tensor, "B"], values: Float[Tensor, "B"]) -> Float[Tensor, ""]:
    """Sum over the chosen groups, in double precision and without a transfer from the device."""
    return torch.where(chosen, values.double(), 0.0).sum()


def _weight_sums(groups: GroupMeasures, informative: Bool[Tensor, "B"]) -> dict[str, Float[Tensor, ""]]:
    """Sums over groups, and over the informative ones, of what is measured on their weights."""
    return {
        "weight_entropy_sum": groups.entropy.double().sum(),
        "informative_weight_entropy_sum": _sum_over(informative, groups.entropy),
        **({"weight_kl_sum": groups.kl.double().sum()} if groups.reference_in_weights else {}),
        "entropy_tau_sum": groups.curvature.tau_tau.double().sum(),
        "entropy_beta_sum": groups.curvature.tau_beta.double().sum(),
        "informative_entropy_tau_sum": _sum_over(informative, groups.curvature.tau_tau),
        "informative_entropy_beta_sum": _sum_over(informative, groups.curvature.tau_beta),
        "kl_beta_sum": -groups.curvature.beta_beta.double().sum(),
    }


def _sums_at_bounds(
    groups: GroupMeasures, informative: Bool[Tensor, "B"], bounds: CoefficientBounds
) -> dict[str, Float[Tensor, ""]]:
    """Sums over groups of H(w) at both bounds of τ, and of KL(w‖p) at both bounds of β."""
    sums = {}
    for end, at_tau, at_beta in zip(("min", "max"), bounds.tau, bounds.beta, strict=True):
        entropy = weighting.weight_entropy(groups.weights_at(at_tau, groups.beta))
        sums[f"entropy_at_tau_{end}_sum"] = entropy.double().sum()
        sums[f"informative_entropy_at_tau_{end}_sum"] = _sum_over(informative, entropy)
        if groups.reference_in_weights:
            kl = weighting.weight_kl(groups.weights_at(groups.tau, at_beta), groups.log_p)
            sums[f"kl_at_beta_{end}_sum"] = kl.double().sum()
    return sums
