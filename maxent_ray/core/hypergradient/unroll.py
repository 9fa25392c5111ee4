"""Entry point of all modes: validate the arguments, unroll, return named derivatives."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from maxent_ray.core.hypergradient.first_order import first_order
from maxent_ray.core.hypergradient.forward import forward
from maxent_ray.core.hypergradient.inner_step import InnerLoop, as_leaves
from maxent_ray.core.hypergradient.interface import (
    MODES,
    NAMES,
    CoefficientTensors,
    Hypergradient,
    InnerLoss,
    MeanOverRanks,
    Mode,
    OuterLoss,
    Params,
)
from maxent_ray.core.hypergradient.outer import Derivatives, as_hypergradient
from maxent_ray.core.hypergradient.reverse import reverse
from maxent_ray.errors import HypergradientError


def unrolled_gradients(
    inner_loss: InnerLoss,
    outer_loss: OuterLoss,
    params: Params,
    coefficients: CoefficientTensors,
    *,
    steps: int,
    learning_rate: float | Params,
    mode: Mode = "reverse",
    checkpoint: bool = False,
    gradient_clip: float | None = None,
    mean_over_ranks: MeanOverRanks | None = None,
) -> Hypergradient:
    """Differentiate ``outer_loss`` after ``steps`` gradient-descent steps on ``inner_loss``.

    θ_{k+1} = θ_k − η ⊙ clip(∇_θ L(θ_k; τ, β, k)). A result that is not finite is returned as it is.

    Args:
        inner_loss: ``inner_loss(params, (tau, beta), k)`` → scalar loss of inner step k. In ``forward`` and
            ``reverse`` twice differentiable: math or eager attention, since fused kernels have no second derivative.
        outer_loss: ``outer_loss(params, (tau, beta))`` → scalar, or a 1-D tensor of M outputs.
        params: θ_0 by name. They are detached: the caller's tensors are neither changed nor tracked.
        coefficients: (τ, β) as 0-dim tensors.
        steps: K ≥ 1.
        learning_rate: η; a float, or a tensor per parameter that broadcasts against it (a frozen diagonal
            preconditioner: η/(√v̂ + ε) makes the inner steps follow a live Adam).
        mode: ``reverse`` or ``forward``, which are exact and agree to rounding, or ``first_order``, which is exact for
            K = 1 and else takes K times the last step's direct term.
        checkpoint: ``reverse`` only: keep θ_k of each step and compute the step again in the backward sweep; memory
            then grows with K sets of parameters instead of K graphs.
        gradient_clip: Largest global norm of an inner gradient; the factor min(1, limit/(‖g‖ + 1e-6)) of
            ``clip_grad_norm_``, differentiated exactly. None: no clipping.
        mean_over_ranks: Averages tensors over data-parallel ranks. Then every inner gradient, every derivative of it
            and the outer function are those of all ranks together, and every rank gets the same result. The losses of
            the ranks must average to the whole batch's loss. None: a single rank.

    Returns:
        ``tau``, ``beta`` (derivatives) and ``outer_value``.

    Raises:
        HypergradientError: ``steps`` < 1, an unknown mode, a learning rate without an entry for a parameter,
            parameters that cannot have gradients or get none, a loss that is not a scalar, an outer value with two
            dimensions, or a coefficient that neither loss depends on. It is a ``ValueError``.

    Example:
        >>> theta = {"x": torch.tensor(2.0, dtype=torch.float64)}
        >>> tau, beta = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
        >>> inner = lambda p, c, k: 0.5 * p["x"] ** 2 - (c[0] + c[1]) * p["x"]
        >>> outer = lambda p, c: p["x"]
        >>> unrolled_gradients(inner, outer, theta, (tau, beta), steps=2, learning_rate=0.5).tau  # 1 - (1 - .5)**2
        0.75

    Source:
        Franceschi et al. 2017, arXiv:1703.01785; truncation: Shaban et al. 2019, arXiv:1810.10667.
    """
    _check(params, steps, mode, checkpoint, gradient_clip)
    tau, beta = (c.detach().clone().requires_grad_() for c in coefficients)
    loop = InnerLoop(
        loss=inner_loss,
        names=tuple(params),
        rates=_rates(params, learning_rate),
        coefficients=(tau, beta),
        steps=steps,
        gradient_clip=gradient_clip,
        mean_over_ranks=mean_over_ranks,
    )
    with torch.enable_grad():  # under a caller's no_grad() every derivative would come out as 0
        derivatives = _run(mode, loop, outer_loss, as_leaves(list(params.values())), checkpoint=checkpoint)
    missing = [name for name, found in zip(NAMES, derivatives.depends, strict=True) if not found]
    if missing:
        raise HypergradientError(
            f"neither inner_loss nor outer_loss depends on {' or '.join(missing)}; its derivative would always be 0. "
            "Use it in one of them, or exclude it from control"
        )
    return as_hypergradient(derivatives)


def _run(mode: Mode, loop: InnerLoop, outer_loss: OuterLoss, leaves: list[Tensor], *, checkpoint: bool) -> Derivatives:
    match mode:
        case "reverse":
            return reverse(loop, outer_loss, leaves, checkpoint=checkpoint)
        case "forward":
            return forward(loop, outer_loss, leaves)
        case "first_order":
            return first_order(loop, outer_loss, leaves)


def _check(params: Params, steps: int, mode: Mode, checkpoint: bool, gradient_clip: float | None) -> None:
    if steps < 1:
        raise HypergradientError(f"steps is {steps}; it must be >= 1")
    if mode not in MODES:
        raise HypergradientError(f"hypergradient mode is {mode!r}; valid: {', '.join(MODES)}")
    if checkpoint and mode != "reverse":
        raise HypergradientError(f"checkpoint is True and mode is {mode!r}; only 'reverse' keeps steps to checkpoint")
    if gradient_clip is not None and not (gradient_clip > 0 and math.isfinite(gradient_clip)):
        raise HypergradientError(f"gradient_clip is {gradient_clip}; it must be finite and > 0, or None")
    if not params:
        raise HypergradientError("params is empty; there is nothing to unroll over")
    discrete = [f"{name} ({value.dtype})" for name, value in params.items() if not value.is_floating_point()]
    if discrete:
        raise HypergradientError(f"parameters without gradients: {', '.join(discrete)}; they must be floating point")


def _rates(params: Params, learning_rate: float | Params) -> tuple[Tensor | float, ...]:
    if not isinstance(learning_rate, Mapping):
        return (learning_rate,) * len(params)
    missing = sorted(set(params) - set(learning_rate))
    if missing:
        raise HypergradientError(f"learning_rate has no entry for the parameters {missing}; give one for each")
    return tuple(learning_rate[name] for name in params)
