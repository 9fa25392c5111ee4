"""Agreement of the exact modes with each other and with central differences of real steps.

In float64 all three are compared; in float32 forward and reverse are compared with each other and with the float64
central differences, because differences of float32 numbers are too coarse at this precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from unroll_methods import plain_steps, run_method
from unroll_problem import UnrollProblem

from maxent_ray.train.unroll.sensitivity import attention_for

STENCIL = {1: 45.0, 2: -9.0, 3: 1.0}
"""Sixth-order central differences: Σ_n c_n (f(nh) − f(−nh)) / 60h."""


@dataclass(frozen=True)
class Accuracy:
    """Largest relative differences over dH/dτ, dH/dβ, dKL/dτ and dKL/dβ, and the last two themselves."""

    dtype: str
    steps: int
    forward_reverse: float
    forward_differences: float
    reverse_differences: float
    first_order_reverse: float
    """Change without the second-order terms: the approximation of ``first_order``, no error."""
    kl_tau: float
    kl_beta: float
    """dKL/dτ and dKL/dβ, by reverse mode."""


def accuracies(exact: UnrollProblem, steps: int) -> list[Accuracy]:
    """Compare the modes at one K, in float64 and in float32.

    Args:
        exact: Problem in float64 throughout.
        steps: K.
    """
    differences = central_differences(exact, steps)
    found = []
    for problem in (exact, exact.cast(torch.float32)):
        forward, reverse, first = (derivatives(problem, mode, steps) for mode in ("forward", "reverse", "first_order"))
        found.append(
            Accuracy(
                dtype=str(next(iter(problem.rates.values())).dtype).removeprefix("torch."),
                steps=steps,
                forward_reverse=relative(forward, reverse),
                forward_differences=relative(forward, differences),
                reverse_differences=relative(reverse, differences),
                first_order_reverse=relative(first, reverse),
                kl_tau=float(reverse[0, 1]),
                kl_beta=float(reverse[1, 1]),
            )
        )
    return found


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest |found − expected|/|expected|, entry by entry."""
    return float(((found - expected).abs() / expected.abs()).max())


def derivatives(problem: UnrollProblem, method: str, steps: int) -> Tensor:
    """[[dH/dτ, dKL/dτ], [dH/dβ, dKL/dβ]]."""
    result = run_method(problem, method, steps)
    assert result is not None
    return torch.stack([torch.as_tensor(result.tau), torch.as_tensor(result.beta)]).double().cpu()


def central_differences(problem: UnrollProblem, steps: int, spacing: float = 2.5e-4) -> Tensor:
    """The same derivatives from K plain steps at τ ± nh and β ± nh.

    Args:
        problem: In float64.
        steps: K.
        spacing: h.
    """
    tau, beta = problem.coefficients

    def after(d_tau: float, d_beta: float) -> Tensor:
        with attention_for("reverse"):
            return plain_steps(problem, steps, (tau + d_tau * spacing, beta + d_beta * spacing)).cpu()

    def slope(d_tau: int, d_beta: int) -> Tensor:
        pairs = ((n, c, after(n * d_tau, n * d_beta) - after(-n * d_tau, -n * d_beta)) for n, c in STENCIL.items())
        return torch.stack([c * difference for _, c, difference in pairs]).sum(0) / (60 * spacing)

    return torch.stack([slope(1, 0), slope(0, 1)])
