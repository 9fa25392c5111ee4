"""Forward mode: carries the tangents Z_τ = ∂θ/∂τ and Z_β = ∂θ/∂β along with θ. Memory does not grow with K.

Z_c ← Z_c − η ⊙ clip′(H Z_c + ∂_c ∇_θ L), with H the Hessian of L at θ_k. Both tangents come out of the graph of one
gradient, so the step itself is computed once. The first step starts from Z = 0, so it needs no H; the last one is
differentiated by the outer function's adjoint, as in reverse mode: one pass for each output that depends on θ, where
two tangents would take two. With λ the adjoint before the last step,
dF/dc = (the last step's and the direct part) + ⟨λ, Z_c⟩.

Source: Franceschi et al. 2017, arXiv:1703.01785, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maxent_ray.core.hypergradient.adjoint import Adjoints, CompletedStep
from maxent_ray.core.hypergradient.clipping import inner_product
from maxent_ray.core.hypergradient.inner_step import InnerLoop, advance, linearise, negated_step, tangent
from maxent_ray.core.hypergradient.interface import OuterLoss
from maxent_ray.core.hypergradient.outer import Dependence, Derivatives, differentiate, union

Tangents = list[list[Tensor]]


def forward(loop: InnerLoop, outer_loss: OuterLoss, leaves: list[Tensor]) -> Derivatives:
    """Derivatives of the outer function, exact."""
    tangents: Tangents | None = None  # ∂θ_0/∂c is 0
    depends: Dependence = (False, False)
    for k in range(loop.steps - 1):
        leaves, changes, found = _carry(loop, leaves, k, tangents)
        depends = union(depends, found)
        tangents = changes if tangents is None else [_sum(*pair) for pair in zip(tangents, changes, strict=True)]
        del changes
    step = linearise(loop, leaves, loop.steps - 1, create_graph=True)
    leaves, clip = advance(loop, leaves, step.gradients)
    outer = differentiate(loop, outer_loss, leaves)
    depends = union(union(depends, step.depends), outer.depends)
    adjoints = Adjoints.of(loop, outer)
    del outer, leaves
    adjoints = adjoints.pull_back(loop, CompletedStep(step, clip), first=tangents is None)
    total = adjoints.by_coefficient.clone()
    if tangents is not None:
        for index, adjoint in adjoints.rows.items():
            total[index] += torch.stack([inner_product(adjoint, z) for z in tangents]).to(total.dtype)
    return Derivatives(adjoints.values, total, depends)


def _carry(
    loop: InnerLoop, leaves: list[Tensor], k: int, tangents: Tangents | None
) -> tuple[list[Tensor], Tangents, Dependence]:
    """Step k: θ_{k+1}, and −η ⊙ clip′(H Z_c + ∂_c ∇_θ L) for τ and β. Its graph is freed on return."""
    step = linearise(loop, leaves, k, create_graph=True)
    moved, clip = advance(loop, leaves, step.gradients)
    changes = []
    for index in range(2):
        along = None if tangents is None else tangents[index]
        change = loop.mean(tangent(step, index, along, retain_graph=index == 0))
        changes.append(negated_step(loop, change if clip is None else clip.derivative(change)))
    return moved, changes, step.depends


def _sum(left: Sequence[Tensor], right: Sequence[Tensor]) -> list[Tensor]:
    return [a.add_(b) for a, b in zip(left, right, strict=True)]
