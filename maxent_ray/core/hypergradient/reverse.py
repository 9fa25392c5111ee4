"""Reverse mode: adjoints λ = ∇_θ F are swept back from θ_K to θ_0. Exact; memory grows with K.

With u = clip′(η ⊙ λ) at step k: dF/dc −= ∂_c⟨g_k, u⟩ and λ −= ∇_θ⟨g_k, u⟩. Each step's graph goes away once it was
used. With ``checkpoint`` only θ_k is kept, and the sweep computes g_k again.

Source: Franceschi et al. 2017, arXiv:1703.01785, section 3.1; Chen et al. 2016, arXiv:1604.06174 (checkpointing).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from maxent_ray.core.hypergradient.adjoint import Adjoints, Taken
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
    depends, adjoints = either(depends, outer.depends), Adjoints.of(loop, outer)
    del outer
    while steps:
        adjoints = adjoints.through(loop, _taken(loop, steps.pop(), len(steps)), first=not steps)
    return Derivatives(adjoints.values, adjoints.by_coefficient, depends)


def _taken(loop: InnerLoop, kept: _Kept, k: int) -> Taken:
    return Taken(kept.step or linearise(loop, kept.leaves, k, create_graph=True), kept.clip)
