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
from maxent_ray.core.hypergradient.inner_step import (
    InnerLoop,
    Step,
    advance,
    fill_gradients,
    linearise,
    negated_step,
    tangent,
)
from maxent_ray.core.hypergradient.interface import NAMES, OuterLoss
from maxent_ray.core.hypergradient.outer import Dependence, Derivatives, add_tangents, differentiate, union


def first_order(loop: InnerLoop, outer_loss: OuterLoss, leaves: list[Tensor]) -> Derivatives:
    """Derivatives of the outer function; exact for K = 1, approximate beyond."""
    depends: Dependence = (False, False)
    for k in range(loop.steps - 1):
        step = linearise(loop, leaves, k, create_graph=False)
        leaves, _ = advance(loop, leaves, step.gradients)
        depends = union(depends, step.depends)
        del step
    step, direct = _last_step(loop, leaves)
    leaves, clip = advance(loop, leaves, step.gradients)
    depends = union(depends, step.depends)
    del step
    tangents = [_all_steps(loop, clip, direct.pop(0)) for _ in NAMES]
    del clip
    return add_tangents(loop, differentiate(loop, outer_loss, leaves), tangents, depends)


def _last_step(loop: InnerLoop, leaves: list[Tensor]) -> tuple[Step, list[list[Tensor]]]:
    """Linearise the last step; also returns this rank's ∂_c∇_θ L there for τ and β.

    The gradient comes last, so that its backward pass frees the graph.
    """
    k = loop.steps - 1
    loss = loop.evaluate(leaves, k)
    by_tau, by_beta = torch.autograd.grad(loss, loop.coefficients, create_graph=True, allow_unused=True)
    step = Step(leaves, [], (by_tau, by_beta))
    direct = [tangent(step, index, None, retain_graph=True) for index in range(2)]
    del by_tau, by_beta
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return step._replace(gradients=fill_gradients(loop, leaves, found, k)), direct


def _all_steps(loop: InnerLoop, clip: Clip | None, direct: list[Tensor]) -> list[Tensor]:
    """−K η ⊙ clip′(∂_c∇_θ L)."""
    averaged = loop.mean(direct)
    changes = negated_step(loop, averaged if clip is None else clip.derivative(averaged))
    return [change.mul_(loop.steps) for change in changes]
