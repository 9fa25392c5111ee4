"""Reverse mode: pulls adjoints λ = ∇_θ F back from θ_K to θ_0. Exact; memory grows with K.

With u = clip′(η ⊙ λ) at step k: dF/dc −= ∂_c⟨g_k, u⟩ and λ −= ∇_θ⟨g_k, u⟩. Each step's graph is freed after
use. With ``checkpoint`` only θ_k is kept, and g_k is computed again.

Source: Franceschi et al. 2017, arXiv:1703.01785, section 3.1; Chen et al. 2016, arXiv:1604.06174 (checkpointing).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from maxent_ray.core.hypergradient.adjoint import Adjoints, CompletedStep
from maxent_ray.core.hypergradient.clipping import Clip
from maxent_ray.core.hypergradient.inner_step import InnerLoop, Step, advance, linearise
from maxent_ray.core.hypergradient.interface import OuterLoss
from maxent_ray.core.hypergradient.outer import Dependence, Derivatives, differentiate, union


class _StoredStep(NamedTuple):
    """An inner step as stored for the backward pass."""

    leaves: list[Tensor]
    step: Step | None
    """None: to be computed again."""
    clip: Clip | None


def reverse(loop: InnerLoop, outer_loss: OuterLoss, leaves: list[Tensor], *, checkpoint: bool) -> Derivatives:
    """Derivatives of the outer function, exact."""
    steps: list[_StoredStep] = []
    depends: Dependence = (False, False)
    for k in range(loop.steps):
        step = linearise(loop, leaves, k, create_graph=not checkpoint)
        depends = union(depends, step.depends)
        before, (leaves, clip) = leaves, advance(loop, leaves, step.gradients)
        steps.append(_StoredStep(before, None if checkpoint else step, clip))
        del step, before
    outer = differentiate(loop, outer_loss, leaves)
    del leaves
    depends, adjoints = union(depends, outer.depends), Adjoints.of(loop, outer)
    del outer
    while steps:
        adjoints = adjoints.pull_back(loop, _completed(loop, steps.pop(), len(steps)), first=not steps)
    return Derivatives(adjoints.values, adjoints.by_coefficient, depends)


def _completed(loop: InnerLoop, stored: _StoredStep, k: int) -> CompletedStep:
    return CompletedStep(stored.step or linearise(loop, stored.leaves, k, create_graph=True), stored.clip)
