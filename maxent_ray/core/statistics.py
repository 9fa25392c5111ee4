"""Batch statistics: sums and counts that merge, so that W shards equal the whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import reduce
from typing import Annotated, Any, Literal, NamedTuple

from maxent_ray.core.field_types import NonNegative, Within
from maxent_ray.core.numbers import hold_exact_numbers
from maxent_ray.core.validation import find_violation, read_dataclass

EntropySignal = Literal["weight_entropy", "informative_weight_entropy", "mode_entropy", "policy_entropy"]
WEIGHT_ENTROPIES: tuple[EntropySignal, ...] = ("weight_entropy", "informative_weight_entropy")
"""Entropies of the group weights, which have a derivative in τ and a reach in closed form."""
NO_SLOPE = "which answers to τ over many steps and has no derivative in it"
"""Reason that an objective or a rule cannot use ``mode_entropy``, for messages."""
KlSignal = Literal["policy_kl", "weight_kl"]
KlReference = Literal["frozen_policy", "behaviour_policy"]
"""Policy that ``policy_kl`` is measured against: one that stays (GRPO's reference), or the one that sampled the batch,
and its like (PPO's old policy, APPO's target network)."""
UNITS: Mapping[str, str] = {
    "weight_entropy": "nats per group",
    "informative_weight_entropy": "nats per group whose rewards differ",
    "mode_entropy": "nats per group with a correct answer",
    "weight_kl": "nats per group",
    "policy_entropy": "nats per token or timestep",
    "policy_kl": "nats per token or timestep",
}
"""Signal → its unit."""


@dataclass(frozen=True)
class BatchStatistics:
    """Sums over the groups and completion tokens of one batch, and their counts.

    Ratios are formed only after merging, so a mean over ranks is weighted by each rank's counts. Counts and sums may be
    numbers of other libraries, such as ``np.int64``, ``np.float32`` or 0-dim tensors. The sum of a signal is None where
    it was not measured; 0 over a count of 0 says that it is measured, and that this batch has nothing to measure it on.

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
    informative_groups: int = 0
    """Groups whose rewards differ."""
    solved_groups: int = 0
    """Groups with at least one correct answer, of a task that tells modes."""
    reward_sum: float = 0.0
    weight_entropy_sum: float | None = None
    """Σ over groups of H(w), nats; None: not measured."""
    informative_weight_entropy_sum: float | None = None
    """Σ over informative groups of H(w), nats."""
    mode_entropy_sum: float | None = None
    """Σ over solved groups of the entropy of the distinct modes among their correct answers, nats."""
    weight_kl_sum: float | None = None
    """Σ over groups of KL(w‖p), nats."""
    policy_entropy_sum: float | None = None
    """Σ over tokens or timesteps of the policy's entropy, nats; may be negative where actions are continuous."""
    policy_kl_sum: float | None = None
    """Σ over tokens or timesteps of the KL between the policy and its reference, nats."""
    entropy_tau_sum: NonNegative = 0.0
    """Σ over groups of dH(w)/dτ (not negative)."""
    entropy_beta_sum: float = 0.0
    """Σ over groups of dH(w)/dβ."""
    informative_entropy_tau_sum: NonNegative = 0.0
    """Σ over informative groups of dH(w)/dτ."""
    informative_entropy_beta_sum: float = 0.0
    """Σ over informative groups of dH(w)/dβ."""
    kl_beta_sum: Annotated[float, Within(most=0.0)] = 0.0
    """Σ over groups of dKL(w‖p)/dβ (not positive)."""
    ranged_groups: int = 0
    """Groups that the following four sums are over, of weights at the bounds of one coefficient, at the present value
    of the other one."""
    entropy_at_tau_min_sum: float = 0.0
    """Σ over groups of H(w) at τ's lower bound, nats."""
    entropy_at_tau_max_sum: float = 0.0
    kl_at_beta_min_sum: float = 0.0
    """Σ over groups of KL(w‖p) at β's lower bound, nats."""
    kl_at_beta_max_sum: float = 0.0
    ranged_informative_groups: int = 0
    """Informative groups that the following two sums are over."""
    informative_entropy_at_tau_min_sum: float = 0.0
    """Σ over informative groups of H(w) at τ's lower bound, nats."""
    informative_entropy_at_tau_max_sum: float = 0.0

    def __post_init__(self) -> None:
        """Take counts and sums of any library."""
        hold_exact_numbers(self)

    def mean(self, signal: str) -> float | None:
        """Mean of a declared signal over its groups, tokens or completions; None if there are none, or not measured.

        Args:
            signal: A key of :data:`COUNTED_IN`: a declared signal (in its :data:`UNITS`), ``reward`` (per completion),
                ``entropy_tau`` / ``entropy_beta`` / ``kl_beta`` (per group), ``entropy_at_tau_min`` / ``…_max`` /
                ``kl_at_beta_min`` / ``…_max`` (per group, where measured), and those of τ over informative groups,
                such as ``informative_entropy_tau``.

        Raises:
            KeyError: ``signal`` is none of these.
        """
        count, total = self.count(signal), getattr(self, f"{signal}_sum")
        return float(total) / count if count and total is not None else None

    def count(self, signal: str) -> int:
        """Number of groups, tokens or completions that a signal's mean is over.

        Example:
            >>> BatchStatistics(groups=12, tokens=108).count("policy_kl")
            108
        """
        count: int = getattr(self, COUNTED_IN[signal])
        return count

    def entropy_slope(self, signal: str) -> float | None:
        """Mean of dH(w)/dτ over the groups that an entropy of the weights is over; None if there are none."""
        return self.mean("informative_entropy_tau" if signal == "informative_weight_entropy" else "entropy_tau")

    def reach(self, signal: str | None) -> Reach | None:
        """Range of an entropy of the weights over τ, or of ``weight_kl`` over β; None of others, or if not measured.

        Exact: the dual is convex, so H(w) rises with τ at any β, and KL(w‖p) falls with β at any τ.
        """
        if signal is None or signal not in _REACH or self.mean(signal) is None:
            return None
        low, high = (self.mean(end) for end in _REACH[signal])
        return None if low is None or high is None else Reach(low, high)

    @property
    def is_empty(self) -> bool:
        """True without a single group, completion or token."""
        return not (self.groups or self.completions or self.tokens)

    @property
    def tied_share(self) -> float:
        """Share of the groups whose rewards all tie, 0 … 1 (0 for an empty batch)."""
        return self.tied_groups / self.groups if self.groups else 0.0

    def invalid_field(self) -> tuple[str, object] | None:
        """Name and value of the first invalid field: no number, not finite, too large or of the wrong sign.

        None when all are valid.
        """
        violation = find_violation(self)
        return None if violation is None else (violation.path, violation.value)

    def to_dict(self) -> dict[str, float | None]:
        """Plain numbers, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> BatchStatistics:
        """Inverse of :meth:`to_dict`.

        Raises:
            InvalidReportError: an entry is missing, unknown, of another type, or out of range; names it and its value.
        """
        return read_dataclass(cls, values, "statistics")


_REACH = {
    "weight_entropy": ("entropy_at_tau_min", "entropy_at_tau_max"),
    "informative_weight_entropy": ("informative_entropy_at_tau_min", "informative_entropy_at_tau_max"),
    "weight_kl": ("kl_at_beta_max", "kl_at_beta_min"),  # KL falls as β rises
}
COUNTED_IN: Mapping[str, str] = {
    "weight_entropy": "groups",
    "informative_weight_entropy": "informative_groups",
    "mode_entropy": "solved_groups",
    "weight_kl": "groups",
    "entropy_tau": "groups",
    "entropy_beta": "groups",
    "kl_beta": "groups",
    "informative_entropy_tau": "informative_groups",
    "informative_entropy_beta": "informative_groups",
    "entropy_at_tau_min": "ranged_groups",
    "entropy_at_tau_max": "ranged_groups",
    "kl_at_beta_min": "ranged_groups",
    "kl_at_beta_max": "ranged_groups",
    "informative_entropy_at_tau_min": "ranged_informative_groups",
    "informative_entropy_at_tau_max": "ranged_informative_groups",
    "policy_entropy": "tokens",
    "policy_kl": "tokens",
    "reward": "completions",
}
"""Mean → the count that it is over."""


def merge(a: BatchStatistics, b: BatchStatistics) -> BatchStatistics:
    """Statistics of the union of two batches; associative and commutative, ``BatchStatistics()`` is the unit.

    A signal that one of them has groups or tokens for and did not measure has no mean over both: its sum is None.

    Example:
        >>> one, two = BatchStatistics(tokens=1, policy_kl_sum=0.1), BatchStatistics(tokens=2)
        >>> merge(one, two).tokens, merge(one, two).policy_kl_sum
        (3, None)
    """
    sums: dict[str, Any] = {f.name: _added(getattr(a, f.name), getattr(b, f.name)) for f in fields(BatchStatistics)}
    unknown = {f"{signal}_sum": None for signal in UNITS if _is_unknown(a, signal) or _is_unknown(b, signal)}
    return BatchStatistics(**{**sums, **unknown})


def _added(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else one + other


def _is_unknown(statistics: BatchStatistics, signal: str) -> bool:
    """True where there is something that the signal was not measured on."""
    return getattr(statistics, f"{signal}_sum") is None and statistics.count(signal) > 0


def merge_all(shards: Iterable[BatchStatistics]) -> BatchStatistics:
    """Merge any number of shards; in a fixed order (of ranks) sums repeat to the last bit.

    Example:
        >>> merge_all(BatchStatistics(groups=2, weight_entropy_sum=3.0) for _ in range(4)).groups
        8
    """
    return reduce(merge, shards, BatchStatistics())


class Reach(NamedTuple):
    """Range of a signal between the bounds of its coefficient, at a constant value of the other one (nats).

    Example:
        >>> Reach(low=0.4, high=1.9).contains(2.0)
        False
    """

    low: float
    high: float

    def contains(self, value: float) -> bool:
        """True when some value of the coefficient gives ``value``."""
        return self.low <= value <= self.high


class CoefficientBounds(NamedTuple):
    """Bounds of τ and β, lower and upper.

    Example:
        >>> from maxent_ray import ControllerConfig
        >>> ControllerConfig(group_size=8).coefficient_bounds
        CoefficientBounds(tau=(0.001, 100.0), beta=(0.0001, 100.0))
    """

    tau: tuple[float, float]
    beta: tuple[float, float]
