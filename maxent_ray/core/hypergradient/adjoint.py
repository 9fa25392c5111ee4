"""Adjoints λ = ∇_θ F, and how they go back through one step: with u = clip′(η ⊙ λ), λ −= ∇_θ⟨g, u⟩."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from maxent_ray.core.hypergradient.clipping import Clip
from maxent_ray.core.hypergradient.inner_step import InnerLoop, Step
from maxent_ray.core.hypergradient.outer import Outer


class Taken(NamedTuple):
    """A step that was made."""

    step: Step
    """Made with ``create_graph``."""
    clip: Clip | None


class Adjoints(NamedTuple):
    """The outer function, averaged over ranks, on its way back from θ_K."""

    values: Tensor
    """``[M]``, or 0-dim for a scalar function."""
    by_coefficient: Tensor
    """``[M, 2]``: what has been found of dF/dτ and dF/dβ."""
    rows: dict[int, list[Tensor]]
    """λ of each output that reaches θ. Others, such as a weight entropy, have nothing to take back."""

    @classmethod
    def of(cls, loop: InnerLoop, outer: Outer) -> Adjoints:
        """Where they start."""
        flat = [part for row in outer.by_params for part in row]
        values, direct, *flat = loop.mean([outer.values, outer.direct, *flat])
        count = len(loop.names)
        rows = [flat[i : i + count] for i in range(0, len(flat), count)]
        reaching = {i: row for i, row in enumerate(rows) if any(bool(part.any()) for part in row)}
        return cls(values, direct, reaching)

    def through(self, loop: InnerLoop, taken: Taken, *, first: bool) -> Adjoints:
        """Go back through a step, which is used up.

        Args:
            loop: The unroll.
            taken: The step.
            first: It is step 0: nobody needs λ at θ_0.
        """
        total, rows = self.by_coefficient.clone(), dict(self.rows)
        for index in rows:
            last = index == max(rows)
            rows[index], change = _pull_back(loop, taken, rows[index], first=first, last=last)
            total[index] -= change
        return Adjoints(self.values, total, rows)


def _pull_back(
    loop: InnerLoop, taken: Taken, adjoint: list[Tensor], *, first: bool, last: bool
) -> tuple[list[Tensor], Tensor]:
    """One adjoint through one step.

    Args:
        loop: The unroll.
        taken: The step.
        adjoint: λ at θ_{k+1}.
        first: Step 0: nobody needs λ at θ_0.
        last: The last adjoint that needs this step's graph.

    Returns:
        λ at θ_k, and ``[2]``: what the step's gradient adds to dF/dτ and dF/dβ, negated.
    """
    weighted = loop.scaled(adjoint)
    cotangents = weighted if taken.clip is None else taken.clip.derivative(weighted)
    pairs = [pair for pair in zip(taken.step.gradients, cotangents, strict=True) if pair[0].requires_grad]
    inputs = [*([] if first else taken.step.leaves), *loop.coefficients]
    if not pairs:
        found = tuple(torch.zeros_like(tensor) for tensor in inputs)
    else:
        outputs, cotangents = (list(part) for part in zip(*pairs, strict=True))
        found = torch.autograd.grad(outputs, inputs, cotangents, retain_graph=not last, materialize_grads=True)
    *by_params, by_tau, by_beta = loop.mean(found)
    pulled = adjoint if first else [a - b for a, b in zip(adjoint, by_params, strict=True)]
    return pulled, torch.stack([by_tau, by_beta])
