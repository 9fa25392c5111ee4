"""The outer function after the unroll: its values and its derivatives at θ_K."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maxent_ray.core.hypergradient.clipping import inner_product
from maxent_ray.core.hypergradient.inner_step import InnerLoop, fill_zeros
from maxent_ray.core.hypergradient.interface import Hypergradient, OuterLoss
from maxent_ray.errors import HypergradientError

Dependence = tuple[bool, bool]
"""True for each of τ and β that something depends on."""


class Outer(NamedTuple):
    """M outputs and this rank's derivatives, at (θ_K, τ, β)."""

    values: Tensor
    """``[M]``, or 0-dim for a scalar function."""
    by_params: list[list[Tensor]]
    """∇_θ of each output."""
    direct: Tensor
    """``[M, 2]``: derivatives in τ and β at constant θ."""
    depends: Dependence
    """Direct dependence of any output on τ, and on β."""


class Derivatives(NamedTuple):
    """Result of a mode; means over ranks."""

    values: Tensor
    by_coefficient: Tensor
    """``[M, 2]``."""
    depends: Dependence


def differentiate(loop: InnerLoop, outer_loss: OuterLoss, leaves: list[Tensor]) -> Outer:
    """Evaluate and differentiate the outer function at θ_K.

    Raises:
        HypergradientError: its value is neither a scalar nor one-dimensional, or has no entries.
    """
    outer = outer_loss(dict(zip(loop.names, leaves, strict=True)), loop.coefficients)
    if outer.dim() > 1 or outer.numel() == 0:
        found = tuple(outer.shape)
        raise HypergradientError(f"outer_loss returned shape {found}; it must return a scalar or a 1-D tensor")
    outputs = outer.reshape(-1)
    inputs = [*leaves, *loop.coefficients]
    rows: list[Sequence[Tensor | None]] = []
    for index, value in enumerate(outputs):
        last = index == len(outputs) - 1
        rows.append(
            torch.autograd.grad(value, inputs, retain_graph=not last, allow_unused=True)
            if value.requires_grad
            else [None] * len(inputs)
        )
    by_params = [fill_zeros(leaves, row[:-2]) for row in rows]
    direct = torch.stack([torch.stack(fill_zeros(loop.coefficients, row[-2:])) for row in rows])
    depends = (any(row[-2] is not None for row in rows), any(row[-1] is not None for row in rows))
    return Outer(outer.detach(), by_params, direct, depends)


def add_tangents(
    loop: InnerLoop, outer: Outer, tangents: Sequence[Sequence[Tensor]], depends: Dependence
) -> Derivatives:
    """dF/dc = ∂F/∂c + ⟨∇_θ F, Z_c⟩, with the tangents Z_c = ∂θ_K/∂c of both coefficients."""
    through = torch.stack(
        [
            torch.stack([inner_product(gradient, z).to(outer.direct.dtype) for z in tangents])
            for gradient in outer.by_params
        ]
    )
    values, by_coefficient = loop.mean([outer.values, outer.direct + through])
    return Derivatives(values, by_coefficient, union(depends, outer.depends))


def union(a: Dependence, b: Dependence) -> Dependence:
    """Dependence of either of two parts."""
    return a[0] or b[0], a[1] or b[1]


def as_hypergradient(derivatives: Derivatives) -> Hypergradient:
    """Floats for a scalar outer function, tensors otherwise."""
    by_tau, by_beta = derivatives.by_coefficient.unbind(1)
    if derivatives.values.dim() == 0:
        return Hypergradient(by_tau.item(), by_beta.item(), derivatives.values.item())
    return Hypergradient(by_tau, by_beta, derivatives.values)
