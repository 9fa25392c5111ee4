"""Settings of the weightings: a union on ``type``. No torch: the formulas are in files of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from maxent_ray.core.numbers import exact_whole
from maxent_ray.core.weightings.base import TauRange, WeightingBase, require


@dataclass(frozen=True, kw_only=True)
class MaxEntWeighting(WeightingBase):
    """Maximum-entropy weights, w ∝ exp((log q + β ρ)/(τ + β)) or w ∝ q^(1/τ); the coefficient is w − 1/G.

    Example:
        >>> MaxEntWeighting(reference="loss").reference_in_weights
        False
    """

    tau: ClassVar[TauRange | None] = TauRange(initial=0.3, low=1e-3)
    has_weights: ClassVar[bool] = True

    type: Literal["maxent"] = "maxent"
    reference: Literal["weights_and_loss", "loss"] = "weights_and_loss"
    """Places of the reference policy. ``weights_and_loss``: in the weights and in the loss's KL term. ``loss``: in the
    KL term alone, so that H belongs to τ and KL to β."""
    q_temperature: float = 1.0
    """T_q > 0 of the distribution q = softmax(r/T_q) that rewards ask for."""
    q_epsilon: float = 1e-6
    """Smoothing of q, in [0, 1)."""
    length_normalize_ref: bool = True
    """ρ as mean-token instead of summed reference log-probability."""

    @property
    def reference_in_weights(self) -> bool:
        """True where w depends on the reference policy and on β."""
        return self.reference == "weights_and_loss"

    def check(self, group_size: int | None) -> None:
        """Raise ConfigError for a value out of range."""
        places = ("weights_and_loss", "loss")
        require(self.reference in places, "reference", repr(self.reference), " or ".join(places))
        require(0 < self.q_temperature < math.inf, "q_temperature", self.q_temperature, "> 0 and finite")
        require(0 <= self.q_epsilon < 1, "q_epsilon", self.q_epsilon, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class GRPOWeighting(WeightingBase):
    """Plain GRPO: advantages within the group. No coefficient."""

    type: Literal["grpo"] = "grpo"
    normalization: Literal["std", "none"] = "std"
    """``std``: advantages are divided by the group's standard deviation, and sums over tokens by a completion's length;
    ``none``: by neither, sums over tokens by the most that are allowed (Dr.GRPO)."""

    def check(self, group_size: int | None) -> None:
        """Raise ConfigError for a value out of range."""
        require(self.normalization in ("std", "none"), "normalization", repr(self.normalization), "std or none")


@dataclass(frozen=True, kw_only=True)
class ListwiseWeighting(WeightingBase):
    """Dr.GRPO's terms times listwise weights at temperature τ (xDr.GRPO); τ = 0: uniform on the best."""

    tau: ClassVar[TauRange | None] = TauRange(initial=0.05, low=1e-3)
    has_weights: ClassVar[bool] = True

    type: Literal["listwise"] = "listwise"


@dataclass(frozen=True, kw_only=True)
class PassAtKWeighting(WeightingBase):
    """Advantages for pass@k instead of the mean reward. No coefficient."""

    type: Literal["pass_at_k"] = "pass_at_k"
    k: int = 4
    """Answers of which one must be right, 1 … G."""

    def check(self, group_size: int | None) -> None:
        """Raise ConfigError for a value out of range."""
        require(exact_whole(self.k) is not None and self.k >= 1, "k", self.k, "a whole number >= 1")
        valid = f"at most {group_size}, the answers of a group"
        require(group_size is None or self.k <= group_size, "k", self.k, valid)


@dataclass(frozen=True, kw_only=True)
class UCPOWeighting(WeightingBase):
    """Standardised advantages, moved among right answers to the unlikely ones; τ is the share that is moved."""

    tau: ClassVar[TauRange | None] = TauRange(initial=0.2, low=1e-3, high=1.0, most=1.0)
    uses_logprobs: ClassVar[bool] = True

    type: Literal["ucpo"] = "ucpo"


@dataclass(frozen=True, kw_only=True)
class UnlikelinessWeighting(WeightingBase):
    """Rewards discounted by the rank of an answer's likelihood, then standardised; τ is the largest discount."""

    tau: ClassVar[TauRange | None] = TauRange(initial=0.25, low=1e-3, high=1.0, most=1.0)
    uses_logprobs: ClassVar[bool] = True

    type: Literal["unlikeliness"] = "unlikeliness"


@dataclass(frozen=True, kw_only=True)
class EntropicWeighting(WeightingBase):
    """Standardised advantages, those of right answers times 2 − τ and those of wrong ones times τ (EntroPIC)."""

    tau: ClassVar[TauRange | None] = TauRange(initial=1.0, low=1e-3, high=2.0, most=2.0)

    type: Literal["entropic"] = "entropic"


@dataclass(frozen=True, kw_only=True)
class RepoRWeighting(WeightingBase):
    """Standardised advantages, tilted by τ times the answer's log-probability (REPO-R)."""

    tau: ClassVar[TauRange | None] = TauRange(initial=0.01, low=1e-6)
    uses_logprobs: ClassVar[bool] = True

    type: Literal["repo_r"] = "repo_r"


Weighting: TypeAlias = (
    MaxEntWeighting
    | GRPOWeighting
    | ListwiseWeighting
    | PassAtKWeighting
    | UCPOWeighting
    | UnlikelinessWeighting
    | EntropicWeighting
    | RepoRWeighting
)
"""All weightings that settings can name; a new one is a class here, a file with its formula, and a case in
:mod:`maxent_ray.core.weightings.coefficients`."""
