"""Unroll methods that the benchmark compares: plain steps, our modes, and torchopt."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from unroll_problem import UnrollProblem

from maxent_ray.core.hypergradient import CoefficientTensors, Hypergradient, Params, unrolled_gradients
from maxent_ray.train.unroll.sensitivity import attention_for

OURS: dict[str, dict[str, Any]] = {
    "forward": {"mode": "forward"},
    "reverse": {"mode": "reverse"},
    "reverse+checkpoint": {"mode": "reverse", "checkpoint": True},
    "first_order": {"mode": "first_order"},
}
PLAIN, TORCHOPT = "plain", "torchopt"
HAS_TORCHOPT = importlib.util.find_spec("torchopt") is not None
METHODS = (PLAIN, *OURS, TORCHOPT)


def run_method(problem: UnrollProblem, method: str, steps: int) -> Hypergradient | None:
    """Run K steps by one method; None for plain steps, which have no derivative."""
    if method == PLAIN:
        plain_steps(problem, steps, problem.coefficients)
        return None
    if method == TORCHOPT:
        with attention_for("reverse"):
            return torchopt_gradients(problem, steps)
    with attention_for(OURS[method]["mode"]):
        return unrolled_gradients(
            problem.unroll.inner,
            problem.unroll.outer,
            problem.unroll.params,
            problem.coefficients,
            steps=steps,
            learning_rate=problem.rates,
            **OURS[method],
        )


def plain_steps(problem: UnrollProblem, steps: int, coefficients: CoefficientTensors) -> Tensor:
    """The same K optimiser steps in place, without a derivative in τ or β; returns H and KL after them."""
    current = {name: value.detach().clone().requires_grad_() for name, value in problem.unroll.params.items()}
    for k in range(steps):
        gradients = torch.autograd.grad(problem.unroll.inner(current, coefficients, k), list(current.values()))
        with torch.no_grad():
            for (name, value), gradient in zip(current.items(), gradients, strict=True):
                value.addcmul_(problem.rates[name], gradient, value=-1)
    with torch.no_grad():
        return problem.unroll.outer(current, coefficients)


def torchopt_gradients(problem: UnrollProblem, steps: int) -> Hypergradient:
    """The unroll by torchopt's differentiable SGD, preceded by the step sizes as a transformation."""
    import torchopt  # a development dependency

    holder = Holder(problem.unroll.params)
    rates = tuple(problem.rates[name] for name in problem.unroll.params)

    def scale(updates: Sequence[Tensor], state: object, **_: object) -> tuple[tuple[Tensor, ...], object]:
        return tuple(rate * update for rate, update in zip(rates, updates, strict=True)), state

    scaling = torchopt.base.GradientTransformation(lambda _: (), scale)
    optimizer = torchopt.MetaOptimizer(holder, torchopt.chain(scaling, torchopt.sgd(1.0)))
    tau, beta = (coefficient.requires_grad_() for coefficient in problem.coefficients)
    for k in range(steps):
        optimizer.step(problem.unroll.inner(holder.params(), (tau, beta), k))
    outer = problem.unroll.outer(holder.params(), (tau, beta))
    rows = [torch.autograd.grad(value, (tau, beta), retain_graph=i + 1 < len(outer)) for i, value in enumerate(outer)]
    by_tau, by_beta = (torch.stack([row[i] for row in rows]) for i in range(2))
    return Hypergradient(by_tau, by_beta, outer.detach())


class Holder(nn.Module):
    """Module with θ as its parameters, tied weights once, which torchopt updates in place of the policy's."""

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.names = tuple(params)
        for index, value in enumerate(params.values()):
            self.register_parameter(f"p{index:04d}", nn.Parameter(value.detach().clone()))  # torchopt sorts by name

    def params(self) -> Mapping[str, Tensor]:
        """Parameters by the policy's names; after a step these are functions of τ and β."""
        return dict(zip(self.names, self._parameters.values(), strict=True))
