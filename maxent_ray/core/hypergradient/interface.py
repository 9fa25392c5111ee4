"""Types that callers and modes of the hypergradient share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

Params = Mapping[str, Tensor]
CoefficientTensors = tuple[Tensor, Tensor]
"""τ and β, 0-dim."""
InnerLoss = Callable[[Params, CoefficientTensors, int], Tensor]
OuterLoss = Callable[[Params, CoefficientTensors], Tensor]
MeanOverRanks = Callable[[Sequence[Tensor]], list[Tensor]]
"""Mean of each tensor over data-parallel ranks; every rank calls it with the same shapes in the same order."""
Mode = Literal["forward", "reverse", "first_order"]
MODES: tuple[Mode, ...] = ("forward", "reverse", "first_order")
NAMES = ("tau", "beta")


@dataclass(frozen=True)
class Hypergradient:
    """Derivatives of the outer function after the unroll.

    Floats for a scalar outer function; tensors ``[M]`` for one with M outputs.

    Example:
        One gradient step on L = −(τ + β)θ from θ = 0 leads to θ = η(τ + β):

        >>> import torch
        >>> from maxent_ray.core.hypergradient import unrolled_gradients
        >>> coefficients = torch.tensor(0.3), torch.tensor(0.1)
        >>> found = unrolled_gradients(
        ...     lambda params, c, k: -(c[0] + c[1]) * params["w"],
        ...     lambda params, c: params["w"],
        ...     {"w": torch.tensor(0.0)}, coefficients, steps=1, learning_rate=0.5,
        ... )
        >>> found.tau, found.beta, round(found.outer_value, 6)
        (0.5, 0.5, 0.2)
    """

    tau: float | Float[Tensor, "M"]
    beta: float | Float[Tensor, "M"]
    outer_value: float | Float[Tensor, "M"]
