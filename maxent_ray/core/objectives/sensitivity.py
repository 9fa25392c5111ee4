"""Sensitivities of H and KL to τ and β, as an unroll of K policy steps measures them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Annotated

from maxent_ray.core.field_types import LARGEST, Within
from maxent_ray.core.numbers import hold_exact_numbers


@dataclass(frozen=True)
class Sensitivity:
    """Measurement of an unroll of K policy steps on one rank, or on all of them after merging.

    A policy signal is a mean over the unrolled tokens, a weight signal one over the groups of the whole batch.

    Example:
        >>> derivatives = {"entropy_tau": 0.5, "entropy_beta": 0.2, "kl_tau": -0.01, "kl_beta": -0.02}
        >>> at = {"tau": 0.3, "beta": 0.1, "version": 4}
        >>> Sensitivity(entropy=1.8, kl=0.06, **derivatives, steps=2, tokens=900, **at, share=1.0).is_finite()
        True
    """

    entropy: float
    """H after K steps (nats, of the declared entropy signal)."""
    kl: float
    """KL after K steps (nats per token, full vocabulary)."""
    entropy_tau: float
    """dH_K/dτ."""
    entropy_beta: float
    """dH_K/dβ."""
    kl_tau: float
    """dKL_K/dτ."""
    kl_beta: float
    """dKL_K/dβ."""
    steps: int
    """K."""
    tokens: int
    """Completion tokens that were unrolled over."""
    tau: float
    """τ that the batch was trained with, and that the derivatives were taken at."""
    beta: float
    """β of the same."""
    version: int
    """Version of these coefficients: decisions since then have not shown in the batch."""
    share: Annotated[float, Within(1e-9, 1.0)]
    """Share of one batch's gradient in the live optimiser's step, and in each unrolled one: (1 − β₁)/(1 − β₁ᵗ) of
    Adam after t updates, 1 without momentum. What lasts has 1/share of the unrolled effect on every real step."""

    def __post_init__(self) -> None:
        """Take measurements of any library."""
        hold_exact_numbers(self)

    def is_finite(self) -> bool:
        """True when every number is finite, and none so large that its square would not be."""
        return all(abs(value) < LARGEST for value in astuple(self))
