"""Gradient clipping by global norm as a differentiable map.

torch's ``clip_grad_norm_`` multiplies g by s = min(1, limit/(n + ε)), with n = ‖g‖ over all parameters and ε = 1e-6.
Where it is active, its derivative in direction x is s·x − limit/((n + ε)² n) · g⟨g, x⟩: a symmetric map, so that the
same function serves tangents (forward mode) and adjoints (reverse mode).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_EPSILON = 1e-6


class Clip(NamedTuple):
    """Clipping, linearised at one gradient."""

    gradients: list[Tensor]
    """g, one tensor a parameter; the same on all ranks."""
    scale: Tensor
    """s."""
    bend: Tensor
    """limit/((n + ε)² n) where clipping is active, else 0."""

    @classmethod
    def at(cls, gradients: list[Tensor], limit: float) -> Clip:
        """Linearise at ``gradients``."""
        norm = inner_product(gradients, gradients).sqrt()
        factor = limit / (norm + _EPSILON)
        bend = torch.where(factor < 1, factor / ((norm + _EPSILON) * norm), torch.zeros_like(norm))
        return cls(gradients, factor.clamp(max=1.0), bend)

    def clipped(self) -> list[Tensor]:
        """s·g."""
        return [gradient * self.scale.to(gradient.dtype) for gradient in self.gradients]

    def derivative(self, direction: Sequence[Tensor]) -> list[Tensor]:
        """Change of the clipped gradient when g moves in ``direction``; also the map's own adjoint."""
        along = self.bend * inner_product(self.gradients, direction)
        return [
            self.scale.to(x.dtype) * x - along.to(x.dtype) * gradient
            for gradient, x in zip(self.gradients, direction, strict=True)
        ]


def inner_product(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """⟨left, right⟩ over all tensors; each tensor's own sum in its precision, their total in float64."""
    terms = [(a * b).sum().double() for a, b in zip(left, right, strict=True)]
    return torch.stack(terms).sum()
