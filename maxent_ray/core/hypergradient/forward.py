"""Forward mode: the tangents Z_τ = ∂θ/∂τ and Z_β = ∂θ/∂β travel along with θ. Memory does not grow with K.

Z_c ← Z_c − η ⊙ clip′(H Z_c + ∂_c ∇_θ L), with H the Hessian of L at θ_k. Both tangents come out of the graph of one
gradient, so the step itself is computed once.

Source: Franceschi et al. 2017, arXiv:1703.01785, section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from maxent_ray.core.hypergradient.clipping import Clip
from maxent_ray.core.hypergradient.inner_step import InnerLoop, Step, advance, linearise, tangent
from maxent_ray.core.hypergradient.interface import OuterLoss
from maxent_ray.core.hypergradient.outer import Dependence, Derivatives, differentiate, either, join


def forward(loop: InnerLoop, outer_loss: OuterLoss, leaves: list[Tensor]) -> Derivatives:
    """Derivatives of the outer function, exact."""
    tangents: list[list[Tensor]] | None = None  # ∂θ_0/∂c is 0
    depends: Dependence = (False, False)
    for k in range(loop.steps):
        step = linearise(loop, leaves, k, create_graph=True)
        leaves, clip = advance(loop, leaves, step.gradients)
        depends = either(depends, step.depends)
        changes = [change_of_step(loop, step, clip, i, None if tangents is None else tangents[i]) for i in range(2)]
        del step  # and with it the graph
        tangents = changes if tangents is None else [_sum(*pair) for pair in zip(tangents, changes, strict=True)]
    assert tangents is not None  # steps >= 1
    return join(loop, differentiate(loop, outer_loss, leaves), tangents, depends)


def change_of_step(
    loop: InnerLoop, step: Step, clip: Clip | None, index: int, along: Sequence[Tensor] | None
) -> list[Tensor]:
    """Change of θ_{k+1} − θ_k along Z_c and coefficient ``index``: −η ⊙ clip′(H Z_c + ∂_c ∇_θ L). τ goes first."""
    change = loop.mean(tangent(step, index, along, retain_graph=index == 0))
    return [part.neg_() for part in loop.scaled(change if clip is None else clip.derivative(change))]


def _sum(left: Sequence[Tensor], right: Sequence[Tensor]) -> list[Tensor]:
    return [a.add_(b) for a, b in zip(left, right, strict=True)]
