"""Forward mode: the tangents Z_τ = ∂θ/∂τ and Z_β = ∂θ/∂β travel along with θ. Memory does not grow with K.

Z_c ← Z_c − η ⊙ clip′(H Z_c + ∂_c ∇_θ L), with H the Hessian of L at θ_k. Both tangents come out of the graph of one
gradient, so the step itself is computed once.

Source: Franceschi et al. 2017, arXiv:1703.01785, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maxent_ray.core.hypergradient.clipping import Clip
from maxent_ray.core.hypergradient.inner_step import InnerLoop, Step, advance, linearise, negated_step, tangent
from maxent_ray.core.hypergradient.interface import NAMES, OuterLoss
from maxent_ray.core.hypergradient.outer import Dependence, Derivatives, differentiate, either, join


def forward(loop: InnerLoop, outer_loss: OuterLoss, leaves: list[Tensor]) -> Derivatives:
    """Derivatives of the outer function, exact."""
    tangents = [[torch.zeros_like(leaf) for leaf in leaves] for _ in NAMES]  # ∂θ_0/∂c; the first step is as any other
    depends: Dependence = (False, False)
    for k in range(loop.steps):
        step = linearise(loop, leaves, k, create_graph=True)
        leaves, clip = advance(loop, leaves, step.gradients)
        depends = either(depends, step.depends)
        changes = [_change(loop, step, clip, index, tangents[index]) for index in range(2)]
        del step  # and with it the graph
        for z, change in zip(tangents, changes, strict=True):
            for part, delta in zip(z, change, strict=True):
                part += delta
        del changes
    return join(loop, differentiate(loop, outer_loss, leaves), tangents, depends)


def _change(loop: InnerLoop, step: Step, clip: Clip | None, index: int, along: Sequence[Tensor]) -> list[Tensor]:
    """Change of θ_{k+1} − θ_k along Z_c and coefficient ``index``: −η ⊙ clip′(H Z_c + ∂_c ∇_θ L). τ goes first."""
    change = loop.mean(tangent(step, index, along, retain_graph=index == 0))
    return negated_step(loop, change if clip is None else clip.derivative(change))
