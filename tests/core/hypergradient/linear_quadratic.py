"""The linear-quadratic inner loop, whose unroll has a closed form.

L = ½ aθ² − (bτ + cβ)θ, so θ ← θ − η(aθ − bτ − cβ) and θ_K = (1 − ηa)^K θ₀ + η(bτ + cβ) Σ_{j<K} (1 − ηa)^j.
"""

from __future__ import annotations

import torch
from torch import Tensor

from maxent_ray.core.hypergradient import CoefficientTensors, Params

A, B_TAU, C_BETA, ETA, THETA = 1.3, 0.7, -0.4, 0.3, 2.0
TAU, BETA = 0.3, 0.1


def scalar(value: float, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(value, dtype=dtype)


def quadratic(params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
    theta, (tau, beta) = params["theta"], coefficients
    return (0.5 * A * theta**2 - (B_TAU * tau + C_BETA * beta) * theta).sum()
