"""Reverse mode: adjoints λ = ∇_θ F are swept back from θ_K to θ_0. Exact; memory grows with K.

With u = clip′(η ⊙ λ) at step k: dF/dc −= ∂_c⟨g_k, u⟩ and λ −= ∇_θ⟨g_k, u⟩. Each step's graph goes away once it was
used. With ``checkpoint`` only θ_k is kept, and the sweep computes g_k again.

Source: Franceschi et al. 2017, arXiv:1703.01785, section 3.1; Chen et al. 2016, arXiv:1604.06174 (checkpointing).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maxent_ray.core.hypergradient.clipping import Clip
from maxent_ray.core.hypergradient.inner_step import InnerLoop, Step, advance, linearise
from maxent_ray.core.hypergradient.interface import OuterLoss
from maxent_ray.core.hypergradient.outer import Dependence, Derivatives, differentiate, either


class _Kept(NamedTuple):
    """What the sweep needs of a step."""

    leaves: list[Tensor]
    step: Step | None
    """None: to be computed again."""
    clip: Clip | None


def reverse(loop: InnerLoop, outer_loss: OuterLoss, leaves: list[Tensor], *, checkpoint: bool) -> Derivatives:
    """Derivatives of the outer function, exact."""
    steps: list[_Kept] = []
    depends: Dependence = (False, False)
    for k in range(loop.steps):
        step = linearise(loop, leaves, k, create_graph=not checkpoint)
        depends = either(depends, step.depends)
        before, (leaves, clip) = leaves, advance(loop, leaves, step.gradients)
        steps.append(_Kept(before, None if checkpoint else step, clip))
        del step, before
    outer = differentiate(loop, outer_loss, leaves)
    del leaves
    values, total, *flat = loop.mean([outer.values, outer.direct, *(part for row in outer.by_params for part in row)])
    depends, count = either(depends, outer.depends), len(loop.names)
    adjoints = [flat[i : i + count] for i in range(0, len(flat), count)]
    del outer, flat
    # an output that does not reach θ, such as a weight entropy, has nothing to sweep back
    reaching = [i for i, adjoint in enumerate(adjoints) if any(bool(part.any()) for part in adjoint)]
    while steps:
        kept, k = steps.pop(), len(steps)
        step = kept.step or linearise(loop, kept.leaves, k, create_graph=True)
        kept = kept._replace(step=step)
        del step
        for i in reaching:
            adjoints[i], by_coefficient = _pull_back(loop, kept, adjoints[i], first=k == 0, last=i == reaching[-1])
            total[i] -= by_coefficient
        del kept  # and with it the graph
    return Derivatives(values, total, depends)


def _pull_back(
    loop: InnerLoop, kept: _Kept, adjoint: list[Tensor], *, first: bool, last: bool
) -> tuple[list[Tensor], Tensor]:
    """One adjoint through one step.

    Args:
        loop: The unroll.
        kept: The step.
        adjoint: λ at θ_{k+1}.
        first: Step 0: nobody needs λ at θ_0.
        last: The last adjoint that needs this step's graph.

    Returns:
        λ at θ_k, and ``[2]``: what the step's gradient adds to dF/dτ and dF/dβ, negated.
    """
    assert kept.step is not None
    weighted = loop.scaled(adjoint)
    cotangents = weighted if kept.clip is None else kept.clip.derivative(weighted)
    pairs = [pair for pair in zip(kept.step.gradients, cotangents, strict=True) if pair[0].requires_grad]
    inputs = [*([] if first else kept.leaves), *loop.coefficients]
    if not pairs:
        found = tuple(torch.zeros_like(tensor) for tensor in inputs)
    else:
        outputs, cotangents = (list(part) for part in zip(*pairs, strict=True))
        found = torch.autograd.grad(outputs, inputs, cotangents, retain_graph=not last, materialize_grads=True)
    *by_params, by_tau, by_beta = loop.mean(found)
    pulled = adjoint if first else [a - b for a, b in zip(adjoint, by_params, strict=True)]
    return pulled, torch.stack([by_tau, by_beta])
