"""Hypergradients: derivatives of the outcome of K policy-gradient steps in the coefficients τ and β.

The unroll is θ_{k+1} = θ_k − η ⊙ clip(∇_θ L(θ_k; τ, β, k)), k = 0 … K−1, followed by an outer function of (θ_K, τ, β).

- ``reverse`` sweeps back through the steps: exact; memory grows with K activations, or with K sets of parameters when
  checkpointed.
- ``forward`` carries ∂θ/∂τ and ∂θ/∂β along: exact; memory does not grow with K.
- ``first_order`` drops second derivatives of the model: no second-order graph, any attention kernel, bfloat16; exact
  for K = 1.

:func:`choose_mode` picks one by the free memory.
"""

from maxent_ray.core.hypergradient.interface import (
    MODES,
    CoefficientTensors,
    Hypergradient,
    InnerLoss,
    MeanOverRanks,
    Mode,
    OuterLoss,
    Params,
)
from maxent_ray.core.hypergradient.mode_choice import ModeChoice, choose_mode, smaller_mode
from maxent_ray.core.hypergradient.unroll import unrolled_gradients

__all__ = [
    "MODES",
    "CoefficientTensors",
    "Hypergradient",
    "InnerLoss",
    "MeanOverRanks",
    "Mode",
    "ModeChoice",
    "OuterLoss",
    "Params",
    "choose_mode",
    "smaller_mode",
    "unrolled_gradients",
]
