"""Derivatives of what K policy-gradient steps lead to, with respect to the coefficients τ and β.

The unroll is θ_{k+1} = θ_k − η ⊙ ∇_θ L(θ_k; τ, β, k), k = 0 … K−1, followed by an outer function of (θ_K, τ, β).
``reverse`` backpropagates through the whole unroll: exact, memory grows with K.

Source: Franceschi et al. 2017, arXiv:1703.01785 (reverse mode, section 3.1); truncation: Shaban et al. 2019,
arXiv:1810.10667.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

Params = Mapping[str, Tensor]
Coefficients = tuple[Tensor, Tensor]
InnerLoss = Callable[[Params, Coefficients, int], Tensor]
OuterLoss = Callable[[Params, Coefficients], Tensor]
Mode = Literal["reverse"]
MODES: tuple[Mode, ...] = ("reverse",)


@dataclass(frozen=True)
class Hypergradient:
    """Derivatives of the outer function after the unroll.

    Floats for a scalar outer function; tensors ``[M]`` for one with M outputs.
    """

    tau: float | Float[Tensor, "M"]
    beta: float | Float[Tensor, "M"]
    outer_value: float | Float[Tensor, "M"]


def unrolled_gradients(
    inner_loss: InnerLoss,
    outer_loss: OuterLoss,
    params: Params,
    coefficients: Coefficients,
    *,
    steps: int,
    learning_rate: float | Params,
    mode: Mode = "reverse",
) -> Hypergradient:
    """Differentiate ``outer_loss`` after ``steps`` gradient-descent steps on ``inner_loss``.

    Args:
        inner_loss: ``inner_loss(params, (tau, beta), k)`` → scalar loss of inner step k; twice differentiable.
            Use math or eager attention: fused attention kernels have no second derivative.
        outer_loss: ``outer_loss(params, (tau, beta))`` → scalar, or a 1-D tensor of M outputs.
        params: θ_0 by name. They are detached: the caller's tensors are neither changed nor tracked.
        coefficients: (τ, β) as 0-dim tensors.
        steps: K ≥ 1.
        learning_rate: η; a float, or a tensor per parameter that broadcasts against it (a frozen diagonal
            preconditioner: η/(√v̂ + ε) makes the inner steps follow a live Adam).
        mode: ``reverse``.

    Returns:
        ``tau``, ``beta`` (derivatives) and ``outer_value``.

    Raises:
        ValueError: ``steps`` < 1, an unknown mode, a learning rate without an entry for a parameter, or an outer
            value that is neither a scalar nor one-dimensional.

    Example:
        >>> theta = {"x": torch.tensor(2.0, dtype=torch.float64)}
        >>> tau, beta = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
        >>> inner = lambda p, c, k: 0.5 * p["x"] ** 2 - c[0] * p["x"]
        >>> outer = lambda p, c: p["x"]
        >>> unrolled_gradients(inner, outer, theta, (tau, beta), steps=2, learning_rate=0.5).tau  # 1 - (1 - .5)**2
        0.75
    """
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    if mode not in MODES:
        raise ValueError(f"unknown hypergradient mode {mode!r}; valid: {', '.join(MODES)}")
    rates = _rates(params, learning_rate)
    tau, beta = (c.detach().clone().requires_grad_() for c in coefficients)
    with torch.enable_grad():  # under a caller's no_grad() every derivative would come out as 0
        final = _unroll(inner_loss, params, (tau, beta), steps=steps, rates=rates)
        return _differentiate(outer_loss(final, (tau, beta)), tau, beta)


def _rates(params: Params, learning_rate: float | Params) -> Mapping[str, Tensor | float]:
    if not isinstance(learning_rate, Mapping):
        return dict.fromkeys(params, learning_rate)
    missing = sorted(set(params) - set(learning_rate))
    if missing:
        raise ValueError(f"learning_rate has no entry for the parameters {missing}")
    return learning_rate


def _unroll(
    inner_loss: InnerLoss,
    params: Params,
    coefficients: Coefficients,
    *,
    steps: int,
    rates: Mapping[str, Tensor | float],
) -> dict[str, Tensor]:
    """θ_K as a function of the coefficients, with the graph of every step kept."""
    current = {name: value.detach().requires_grad_() for name, value in params.items()}
    for k in range(steps):
        loss = inner_loss(current, coefficients, k)
        gradients = torch.autograd.grad(
            loss, list(current.values()), create_graph=True, materialize_grads=True
        )
        current = {
            name: value - rates[name] * gradient
            for (name, value), gradient in zip(current.items(), gradients, strict=True)
        }
    return current


def _differentiate(outer: Tensor, tau: Tensor, beta: Tensor) -> Hypergradient:
    if outer.dim() > 1:
        raise ValueError(f"outer_loss must return a scalar or a 1-D tensor, got shape {tuple(outer.shape)}")
    outputs = outer.reshape(-1)
    rows = []
    for index, value in enumerate(outputs):
        last = index == len(outputs) - 1
        rows.append(
            torch.autograd.grad(value, (tau, beta), retain_graph=not last, materialize_grads=True)
            if value.requires_grad
            else (torch.zeros_like(tau), torch.zeros_like(beta))
        )
    by_tau, by_beta = (torch.stack([row[i] for row in rows]) for i in range(2))
    if outer.dim() == 0:
        return Hypergradient(by_tau.item(), by_beta.item(), outputs.item())
    return Hypergradient(by_tau, by_beta, outputs.detach())
