"""First order: second derivatives of the model are dropped, I − ηH becomes I.

The exact derivative is dθ_K/dc = −Σ_k [Π_{j>k} (I − η H_j)] η ⊙ ∂_c∇_θ L_k. Without the Hessians H_j only the direct
terms −η ⊙ ∂_c∇_θ L_k are left. The last step's stands for all K of them: θ moves by O(η) a step, so that the direct
terms differ by as much as what was dropped already, and each would cost two more backward passes.

For K = 1 nothing is dropped: the only step starts at θ_0, which does not depend on τ or β, so its Hessian meets a
tangent of 0. The result is exact.

∂L/∂c differentiates the coefficients' branch alone (the weights), never the model: as a function of θ it lives on the
model's ordinary graph, and ∇_θ(∂L/∂c) is one more ordinary backward pass. No second-order graph exists, so fused
attention, bfloat16 autocast and functions without a double backward all work.

Source: Shaban et al. 2019, arXiv:1810.10667 (truncation to direct terms); Finn et al. 2017, arXiv:1703.03400, section
5.2 (the same step in first-order MAML).
"""

from __future__ import annotations

import torch
from torch import Tensor

from maxent_ray.core.hypergradient.clipping import Clip
from maxent_ray.core.hypergradient.forward import change_of_step
from maxent_ray.core.hypergradient.inner_step import InnerLoop, Step, advance, filled, linearise
from maxent_ray.core.hypergradient.interface import OuterLoss
from maxent_ray.core.hypergradient.outer import Dependence, Derivatives, differentiate, either, join


def first_order(loop: InnerLoop, outer_loss: OuterLoss, leaves: list[Tensor]) -> Derivatives:
    """Derivatives of the outer function; exact for K = 1, approximate beyond."""
    depends: Dependence = (False, False)
    for k in range(loop.steps - 1):
        step = linearise(loop, leaves, k, create_graph=False)
        leaves, _ = advance(loop, leaves, step.gradients)
        depends = either(depends, step.depends)
        del step
    leaves, tangents, last = _last_step(loop, leaves)
    return join(loop, differentiate(loop, outer_loss, leaves), tangents, either(depends, last))


def _last_step(loop: InnerLoop, leaves: list[Tensor]) -> tuple[list[Tensor], list[list[Tensor]], Dependence]:
    """θ_K, and K times the direct term of the last step for τ and β; its graph is gone on return."""
    k = loop.steps - 1
    loss = loop.evaluate(leaves, k)
    by_tau, by_beta = torch.autograd.grad(loss, loop.coefficients, create_graph=True, allow_unused=True)
    found = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
    step = Step(leaves, filled(loop, leaves, found, k), (by_tau, by_beta))
    moved, clip = advance(loop, leaves, step.gradients)
    return moved, [_direct_term(loop, step, clip, index) for index in range(2)], step.depends


def _direct_term(loop: InnerLoop, step: Step, clip: Clip | None, index: int) -> list[Tensor]:
    return [part.mul_(loop.steps) for part in change_of_step(loop, step, clip, index, None)]
