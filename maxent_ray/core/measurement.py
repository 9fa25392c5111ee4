"""Measurement of one batch: weights, entropy and KL of its groups, and sums over groups and tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maxent_ray.core import weighting
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
    """KL(w‖p), nats."""
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
    kl = -entropy - (weights * log_p).sum(dim=-1)
    curvature = weighting.dual_curvature(log_q, log_p, *chosen, weights)
    if not reference_in_weights:
        still = torch.zeros_like(entropy)
        curvature = curvature._replace(tau_beta=still, beta_beta=still)
    return GroupMeasures(rewards, log_q, log_p, tau, beta, weights, entropy, kl, curvature, reference_in_weights)


def batch_statistics(
    groups: GroupMeasures | RewardedGroups,
    token_entropy: Float[Tensor, "N C"],
    token_kl: Float[Tensor, "N C"],
    token_mask: Bool[Tensor, "N C"],
    bounds: CoefficientBounds | None = None,
) -> BatchStatistics:
    """Sum up one batch.

    Args:
        groups: Measured with the coefficients that the batch was trained with; without weights there are no statistics
            of weights.
        token_entropy: ``[N, C]`` policy entropy at each completion token (nats), N = B·G.
        token_kl: ``[N, C]`` KL(π_θ‖π_ref) at each completion token (nats).
        token_mask: ``[N, C]`` True at completion tokens.
        bounds: Bounds of τ and β; if given, H(w) and KL(w‖p) at these bounds are measured too.

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
    sums = {
        "tied_groups": tied.sum(),
        "tokens": token_mask.sum(),
        "reward_sum": rewards.double().sum(),
        "policy_entropy_sum": token_entropy[token_mask].double().sum(),
        "policy_kl_sum": token_kl[token_mask].double().sum(),
        **(_weight_sums(groups, bounds) if isinstance(groups, GroupMeasures) else {}),
    }
    numbers = torch.stack([each.double() for each in sums.values()]).tolist()  # one transfer from the device
    values = dict(zip(sums, numbers, strict=True))
    return BatchStatistics(
        groups=rewards.shape[0],
        completions=rewards.numel(),
        tied_groups=int(values.pop("tied_groups")),
        tokens=int(values.pop("tokens")),
        ranged_groups=rewards.shape[0] if isinstance(groups, GroupMeasures) and bounds is not None else 0,
        **values,
    )


_AT_BOUNDS = ("entropy_at_tau_min_sum", "entropy_at_tau_max_sum", "kl_at_beta_min_sum", "kl_at_beta_max_sum")


def _weight_sums(groups: GroupMeasures, bounds: CoefficientBounds | None) -> dict[str, Float[Tensor, ""]]:
    """Sums over groups of what is measured on their weights."""
    return {
        "weight_entropy_sum": groups.entropy.double().sum(),
        "weight_kl_sum": groups.kl.double().sum(),
        "entropy_tau_sum": groups.curvature.tau_tau.double().sum(),
        "entropy_beta_sum": groups.curvature.tau_beta.double().sum(),
        "kl_beta_sum": -groups.curvature.beta_beta.double().sum(),
        **({} if bounds is None else dict(zip(_AT_BOUNDS, _at_bounds(groups, bounds), strict=True))),
    }


def _at_bounds(groups: GroupMeasures, bounds: CoefficientBounds) -> Float[Tensor, "4"]:
    """Sums over groups of H(w) at both bounds of τ, and of KL(w‖p) at both bounds of β."""
    entropies = [weighting.weight_entropy(groups.weights_at(bound, groups.beta)) for bound in bounds.tau]
    kls = [weighting.weight_kl(groups.weights_at(groups.tau, bound), groups.log_p) for bound in bounds.beta]
    return torch.stack([*entropies, *kls]).double().sum(dim=-1)
