"""What one training step tells the controller: sums and counts that merge, so that W shards equal the whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import reduce
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from maxent_ray.core import weighting
from maxent_ray.core.field_kinds import NonNegative, Within
from maxent_ray.core.reading import first_problem, read_dataclass

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

EntropySignal = Literal["weight_entropy", "policy_entropy"]
KlSignal = Literal["policy_kl", "weight_kl"]


@dataclass(frozen=True)
class BatchStatistics:
    """Sums over the groups and completion tokens of one batch, and their counts.

    Ratios are formed only after merging, so a mean over ranks is weighted by what each rank saw.

    Example:
        >>> one = BatchStatistics(groups=2, weight_entropy_sum=2.0)
        >>> two = BatchStatistics(groups=2, weight_entropy_sum=3.0)
        >>> merge(one, two).mean("weight_entropy")
        1.25
    """

    groups: int = 0
    completions: int = 0
    tokens: int = 0
    tied_groups: int = 0
    """Groups whose rewards are all equal: with β = 0 their weights are uniform whatever τ is."""
    reward_sum: float = 0.0
    weight_entropy_sum: float = 0.0
    """Σ over groups of H(w), nats."""
    weight_kl_sum: float = 0.0
    """Σ over groups of KL(w‖p), nats."""
    policy_entropy_sum: float = 0.0
    """Σ over tokens of the policy's entropy, nats."""
    policy_kl_sum: float = 0.0
    """Σ over tokens of KL(π_θ‖π_ref), nats."""
    entropy_tau_sum: NonNegative = 0.0
    """Σ over groups of dH(w)/dτ (not negative)."""
    entropy_beta_sum: float = 0.0
    """Σ over groups of dH(w)/dβ."""
    kl_beta_sum: Annotated[float, Within(most=0.0)] = 0.0
    """Σ over groups of dKL(w‖p)/dβ (not positive)."""
    ranged_groups: int = 0
    """Groups that the following four sums are over: what the weights would be at the bounds of one coefficient, the
    other one being what the batch was weighted with."""
    entropy_at_tau_min_sum: float = 0.0
    """Σ over groups of H(w) at τ's lower bound, nats."""
    entropy_at_tau_max_sum: float = 0.0
    kl_at_beta_min_sum: float = 0.0
    """Σ over groups of KL(w‖p) at β's lower bound, nats."""
    kl_at_beta_max_sum: float = 0.0

    def mean(self, signal: str) -> float | None:
        """Mean of a declared signal over what it is counted in, or None when nothing was counted.

        Args:
            signal: ``weight_entropy``, ``weight_kl`` (nats per group), ``policy_entropy``, ``policy_kl`` (nats per
                token), ``reward`` (per completion), ``entropy_tau`` / ``entropy_beta`` / ``kl_beta`` (per group), or
                ``entropy_at_tau_min`` / ``…_max`` / ``kl_at_beta_min`` / ``…_max`` (per group, where measured).

        Raises:
            KeyError: ``signal`` is none of these.
        """
        count = getattr(self, _COUNTED_IN[signal])
        return float(getattr(self, f"{signal}_sum")) / count if count else None

    @property
    def tied_share(self) -> float:
        """Share of the groups whose rewards all tie, 0 … 1 (0 for an empty batch)."""
        return self.tied_groups / self.groups if self.groups else 0.0

    def invalid_field(self) -> tuple[str, object] | None:
        """Name and value of the first field that is no number, not finite, too large or of a sign that it cannot have.

        None when all are usable.
        """
        problem = first_problem(self)
        return None if problem is None else (problem.path, problem.value)

    def to_dict(self) -> dict[str, float]:
        """Plain numbers, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> BatchStatistics:
        """Inverse of :meth:`to_dict`.

        Raises:
            InvalidReportError: an entry is missing, unknown, of another type, or out of range; names it and its value.
        """
        return read_dataclass(cls, values, "statistics")


_COUNTED_IN = {
    "weight_entropy": "groups",
    "weight_kl": "groups",
    "entropy_tau": "groups",
    "entropy_beta": "groups",
    "kl_beta": "groups",
    "entropy_at_tau_min": "ranged_groups",
    "entropy_at_tau_max": "ranged_groups",
    "kl_at_beta_min": "ranged_groups",
    "kl_at_beta_max": "ranged_groups",
    "policy_entropy": "tokens",
    "policy_kl": "tokens",
    "reward": "completions",
}


def merge(a: BatchStatistics, b: BatchStatistics) -> BatchStatistics:
    """Statistics of the union of two batches; associative and commutative, ``BatchStatistics()`` is the unit."""
    return BatchStatistics(**{f.name: getattr(a, f.name) + getattr(b, f.name) for f in fields(BatchStatistics)})


def merge_all(shards: Iterable[BatchStatistics]) -> BatchStatistics:
    """Merge any number of shards; the caller fixes their order (ranks) so that sums repeat to the last bit."""
    return reduce(merge, shards, BatchStatistics())


class CoefficientBounds(NamedTuple):
    """Between which values a controller may place τ and β."""

    tau: tuple[float, float]
    beta: tuple[float, float]


def batch_statistics(
    rewards: Float[Tensor, "B G"],
    log_q: Float[Tensor, "B G"],
    ref_logprobs: Float[Tensor, "B G"],
    tau: float,
    beta: float,
    token_entropy: Float[Tensor, "N C"],
    token_kl: Float[Tensor, "N C"],
    token_mask: Bool[Tensor, "N C"],
    bounds: CoefficientBounds | None = None,
) -> BatchStatistics:
    """Measure one batch.

    Args:
        rewards: ``[B, G]`` rewards.
        log_q: ``[B, G]`` log q of the rewards.
        ref_logprobs: ``[B, G]`` reference log-probabilities ρ (nats).
        tau: τ the batch was weighted with.
        beta: β the batch was weighted with.
        token_entropy: ``[N, C]`` policy entropy at each completion token (nats), N = B·G.
        token_kl: ``[N, C]`` KL(π_θ‖π_ref) at each completion token (nats).
        token_mask: ``[N, C]`` True at completion tokens.
        bounds: Where τ and β may go; given, the batch also tells what H(w) and KL(w‖p) they can reach.

    Returns:
        Sums and counts as Python numbers.
    """
    log_p = torch.log_softmax(ref_logprobs, dim=-1)
    weights = weighting.group_weights(log_q, log_p, tau, beta)
    curvature = weighting.dual_curvature(log_q, log_p, tau, beta)
    tied = (rewards == rewards[:, :1]).all(dim=-1)
    sums = torch.stack(
        [
            tied.sum().double(),
            rewards.double().sum(),
            weighting.weight_entropy(weights).double().sum(),
            weighting.weight_kl(weights, ref_logprobs).double().sum(),
            token_entropy[token_mask].double().sum(),
            token_kl[token_mask].double().sum(),
            curvature.tau_tau.double().sum(),
            curvature.tau_beta.double().sum(),
            -curvature.beta_beta.double().sum(),
            token_mask.sum().double(),
            *(_at_bounds(log_q, log_p, tau, beta, bounds) if bounds is not None else ()),
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


def _at_bounds(
    log_q: Float[Tensor, "B G"], log_p: Float[Tensor, "B G"], tau: float, beta: float, bounds: CoefficientBounds
) -> Float[Tensor, "4"]:
    """Sums over groups of H(w) at both bounds of τ, and of KL(w‖p) at both bounds of β."""
    places = torch.tensor(
        [*((value, beta) for value in bounds.tau), *((tau, value) for value in bounds.beta)],
        dtype=log_q.dtype,
        device=log_q.device,
    )
    taus, betas = places.T[..., None, None]
    weights = weighting.group_weights(log_q, log_p, taus, betas)
    entropies, kls = weighting.weight_entropy(weights[:2]), weighting.weight_kl(weights[2:], log_p)
    return torch.cat([entropies, kls]).double().sum(dim=-1)
