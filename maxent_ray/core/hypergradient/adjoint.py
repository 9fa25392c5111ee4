"""Adjoints λ = ∇_θ F and their pull-back through one step: with u = clip′(η ⊙ λ), λ −= ∇_θ⟨g, u⟩."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maxent_ray.core.hypergradient.clipping import Clip
from maxent_ray.core.hypergradient.inner_step import InnerLoop, Step
from maxent_ray.core.hypergradient.outer import Outer


class CompletedStep(NamedTuple):
    """An inner step that was made."""

    step: Step
    """Linearised with ``create_graph``."""
    clip: Clip | None


class Adjoints(NamedTuple):
    """The outer function, averaged over ranks, differentiated back from θ_K to some θ_k."""

    values: Tensor
    """``[M]``, or 0-dim for a scalar function."""
    by_coefficient: Tensor
    """``[M, 2]``: the part of dF/dτ and dF/dβ from the steps after k."""
    rows: dict[int, list[Tensor]]
    """λ of each output that depends on θ, by its index; a weight entropy, for one, does not."""

    @classmethod
    def of(cls, loop: InnerLoop, outer: Outer) -> Adjoints:
        """Adjoints at θ_K."""
        flat = [part for row in outer.by_params for part in row]
        values, direct, *flat = loop.mean([outer.values, outer.direct, *flat])
        count = len(loop.names)
        rows = [flat[i : i + count] for i in range(0, len(flat), count)]
        dependent = {i: row for i, row in enumerate(rows) if any(bool(part.any()) for part in row)}
        return cls(values, direct, dependent)

    def pull_back(self, loop: InnerLoop, completed: CompletedStep, *, first: bool) -> Adjoints:
        """Pull all adjoints back through one step, whose graph is freed.

        Args:
            loop: The unroll.
            completed: The step.
            first: True for step 0: λ at θ_0 is not needed.
        """
        total, rows = self.by_coefficient.clone(), dict(self.rows)
        for index in rows:
            last = index == max(rows)
            rows[index], change = _pull_back(loop, completed, rows[index], first=first, last=last)
            total[index] -= change
        return Adjoints(self.values, total, rows)


def _pull_back(
    loop: InnerLoop, completed: CompletedStep, adjoint: list[Tensor], *, first: bool, last: bool
) -> tuple[list[Tensor], Tensor]:
    """Pull one adjoint back through one step.

    Args:
        loop: The unroll.
        completed: The step.
        adjoint: λ at θ_{k+1}.
        first: True for step 0: λ at θ_0 is not needed.
        last: True for the last adjoint that needs this step's graph.

    Returns:
        λ at θ_k, and ``[2]``: what the step's gradient adds to dF/dτ and dF/dβ, negated.
    """
    weighted = loop.scaled(adjoint)
    cotangents = weighted if completed.clip is None else completed.clip.derivative(weighted)
    pairs = [pair for pair in zip(completed.step.gradients, cotangents, strict=True) if pair[0].requires_grad]
    inputs = [*([] if first else completed.step.leaves), *loop.coefficients]
    if not pairs:
        found = tuple(torch.zeros_like(tensor) for tensor in inputs)
    else:
        outputs, cotangents = (list(part) for part in zip(*pairs, strict=True))
        found = torch.autograd.grad(outputs, inputs, cotangents, retain_graph=not last, materialize_grads=True)
    *by_params, by_tau, by_beta = loop.mean(found)
    pulled = adjoint if first else [a - b for a, b in zip(adjoint, by_params, strict=True)]
    return pulled, torch.stack([by_tau, by_beta])
