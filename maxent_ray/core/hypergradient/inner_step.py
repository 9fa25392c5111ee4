"""One inner step θ ← θ − η ⊙ clip(g), linearised at its own leaf; every mode is composed of these.

No graph spans two steps: each step's θ_k is a detached leaf, and modes connect the steps by the chain rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from maxent_ray.core.hypergradient.clipping import Clip
from maxent_ray.core.hypergradient.interface import CoefficientTensors, InnerLoss, MeanOverRanks
from maxent_ray.errors import HypergradientError


@dataclass(frozen=True)
class InnerLoop:
    """Settings of all inner steps of an unroll."""

    loss: InnerLoss
    names: tuple[str, ...]
    rates: tuple[Tensor | float, ...]
    """η, one a parameter."""
    coefficients: CoefficientTensors
    """τ and β as leaves that track gradients."""
    steps: int
    gradient_clip: float | None
    mean_over_ranks: MeanOverRanks | None

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Mean over ranks; the tensors themselves for a single one."""
        return list(tensors) if self.mean_over_ranks is None else self.mean_over_ranks(tensors)

    def scaled(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """η ⊙ x."""
        return [rate * tensor for rate, tensor in zip(self.rates, tensors, strict=True)]

    def evaluate(self, leaves: Sequence[Tensor], k: int) -> Tensor:
        """Loss of inner step k.

        Raises:
            HypergradientError: it is not a scalar, or none of the parameters gets a gradient from it.
        """
        loss = self.loss(dict(zip(self.names, leaves, strict=True)), self.coefficients, k)
        if loss.dim() != 0:
            raise HypergradientError(
                f"inner_loss returned shape {tuple(loss.shape)} at step {k}; it must return a scalar (0-dim tensor)"
            )
        if not loss.requires_grad:
            raise self.no_gradients(k)
        return loss

    def no_gradients(self, k: int) -> HypergradientError:
        """Error for a loss that does not depend on θ."""
        return HypergradientError(
            f"inner_loss at step {k} gives no gradient to any of the parameters {list(self.names)}; "
            "it must depend on at least one of them"
        )


class Step(NamedTuple):
    """An inner step, linearised."""

    leaves: list[Tensor]
    """θ_k."""
    gradients: list[Tensor]
    """This rank's ∇_θ L(θ_k; τ, β, k); functions of θ_k, τ and β when made with ``create_graph``."""
    by_coefficient: tuple[Tensor | None, Tensor | None]
    """∂L/∂τ and ∂L/∂β, functions of θ_k when made with ``create_graph``; None: L does not depend on it."""

    @property
    def depends(self) -> tuple[bool, bool]:
        """True for each of τ and β that the loss depends on."""
        by_tau, by_beta = self.by_coefficient
        return by_tau is not None, by_beta is not None


def linearise(loop: InnerLoop, leaves: list[Tensor], k: int, *, create_graph: bool) -> Step:
    """Loss and gradients of inner step k at θ_k."""
    loss = loop.evaluate(leaves, k)
    found = torch.autograd.grad(loss, [*leaves, *loop.coefficients], create_graph=create_graph, allow_unused=True)
    return Step(leaves, fill_gradients(loop, leaves, found[:-2], k), (found[-2], found[-1]))


def advance(loop: InnerLoop, leaves: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[list[Tensor], Clip | None]:
    """Make the step, with the gradient averaged over ranks.

    Returns:
        θ_{k+1} as new leaves, and the clipping that was applied; None when it is off.
    """
    averaged = loop.mean([gradient.detach() for gradient in gradients])
    clip = None if loop.gradient_clip is None else Clip.at(averaged, loop.gradient_clip)
    clipped = averaged if clip is None else clip.clipped()
    with torch.no_grad():
        moved = [leaf - rate * change for leaf, rate, change in zip(leaves, loop.rates, clipped, strict=True)]
    return as_leaves(moved), clip


def negated_step(loop: InnerLoop, changes: list[Tensor]) -> list[Tensor]:
    """−η ⊙ x, in place in the list: large models have no room for every x twice."""
    for index, rate in enumerate(loop.rates):
        changes[index] = -(rate * changes[index])
    return changes


def fill_gradients(loop: InnerLoop, leaves: Sequence[Tensor], found: Sequence[Tensor | None], k: int) -> list[Tensor]:
    """Fill in zeros for parameters that the loss does not depend on.

    Raises:
        HypergradientError: it depends on none of them.
    """
    if all(gradient is None for gradient in found):
        raise loop.no_gradients(k)
    return fill_zeros(leaves, found)


def fill_zeros(inputs: Sequence[Tensor], derivatives: Sequence[Tensor | None]) -> list[Tensor]:
    """Derivatives with zeros in place of None, which autograd returns for an input without influence."""
    return [
        torch.zeros_like(tensor) if derivative is None else derivative
        for tensor, derivative in zip(inputs, derivatives, strict=True)
    ]


def as_leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Detached copies of the values that track gradients."""
    return [tensor.detach().requires_grad_() for tensor in tensors]


def tangent(step: Step, index: int, along: Sequence[Tensor] | None, *, retain_graph: bool) -> list[Tensor]:
    """This rank's change of ∇L when θ moves along Z and coefficient ``index`` by one: H Z + ∂_c ∇_θ L.

    H is symmetric, so it is one backward pass: ∇_θ(⟨∇_θ L, Z⟩ + ∂L/∂c).

    Args:
        step: Its ∂L/∂c made with ``create_graph``; its gradient too, unless ``along`` is None.
        index: 0 for τ, 1 for β.
        along: Z = ∂θ_k/∂c; None for 0.
        retain_graph: True where the step is needed again.
    """
    pairs = [] if along is None else list(zip(step.gradients, along, strict=True))
    by_coefficient = step.by_coefficient[index]
    if by_coefficient is not None:
        pairs.append((by_coefficient, torch.ones_like(by_coefficient)))
    pairs = [(output, cotangent) for output, cotangent in pairs if output.requires_grad]
    if not pairs:
        return [torch.zeros_like(leaf) for leaf in step.leaves]
    outputs, cotangents = zip(*pairs, strict=True)
    return list(
        torch.autograd.grad(outputs, step.leaves, cotangents, retain_graph=retain_graph, materialize_grads=True)
    )
