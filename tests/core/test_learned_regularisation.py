"""Regularisation learned by hypergradients reaches what a grid search over exactly solved problems finds.

Logistic regression in 20 dimensions: log loss of the training set, plus ½e^τ of the squared weights of ten features
that matter and ½e^β of those of ten that hardly do. τ and β descend the loss of a validation set.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor
from torch.nn.functional import softplus

from maxent_ray.core.hypergradient import CoefficientTensors, Mode, Params, unrolled_gradients

Array = NDArray[np.float64]
STEPS, ETA = 80, 1.0
"""Inner steps from zero. At the optimum the flattest direction of the inner problem has curvature .08, so that
truncation misses about (1 − .08)^80 = .001; the steepest has .5, and where the search starts 1.5, below 2/η."""
SPACING = 0.05
"""Of the grid, in τ and in β."""


class Data(NamedTuple):
    inputs: Array
    signs: Array

    def loss(self, weights: Array) -> float:
        return float(np.logaddexp(0, -self.signs * (self.inputs @ weights)).mean())


def draw(rng: np.random.Generator, count: int, truth: Array) -> Data:
    inputs = rng.standard_normal((count, len(truth)))
    return Data(inputs, np.where(rng.random(count) < expit(inputs @ truth), 1.0, -1.0))


RNG = np.random.default_rng(10)
TRUTH = np.concatenate([RNG.standard_normal(10), 0.2 * RNG.standard_normal(10)])
TRAINING, VALIDATION = draw(RNG, 100, TRUTH), draw(RNG, 400, TRUTH)


def solve(tau: float, beta: float) -> Array:
    """The regularised weights by Newton's method: no gradient descent, no autograd, no truncation."""
    penalty, weights = np.repeat(np.exp([tau, beta]), 10), np.zeros(20)
    inputs, signs = TRAINING
    for _ in range(50):
        misses = expit(-signs * (inputs @ weights))
        gradient = penalty * weights - inputs.T @ (signs * misses) / len(signs)
        hessian = np.diag(penalty) + (inputs.T * (misses * (1 - misses))) @ inputs / len(signs)
        weights = weights - np.linalg.solve(hessian, gradient)
        if np.abs(gradient).max() < 1e-12:
            return weights
    raise AssertionError("Newton's method did not converge")


def validated(tau: float, beta: float) -> float:
    return VALIDATION.loss(solve(tau, beta))


@pytest.fixture(scope="module")
def best() -> tuple[float, float]:
    """The best point of a grid; inside it, or the grid is too small to say anything."""
    taus, betas = np.arange(-5.5, -2, SPACING), np.arange(-3.5, 0, SPACING)
    losses = np.array([[validated(tau, beta) for beta in betas] for tau in taus])
    row, column = np.unravel_index(losses.argmin(), losses.shape)
    assert 0 < row < len(taus) - 1
    assert 0 < column < len(betas) - 1
    return float(taus[row]), float(betas[column])


def learn(mode: Mode, iterations: int = 20, rate: float = 30.0) -> tuple[float, float]:
    """Gradient descent on the validation loss, from τ = −1 and β = 0."""

    def log_loss(data: Data, weights: Tensor) -> Tensor:
        return softplus(-torch.from_numpy(data.signs) * (torch.from_numpy(data.inputs) @ weights)).mean()

    def inner(params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
        strong, weak = params["w"].split(10)
        penalty = coefficients[0].exp() * strong.square().sum() + coefficients[1].exp() * weak.square().sum()
        return log_loss(TRAINING, params["w"]) + 0.5 * penalty

    found = [-1.0, 0.0]
    for _ in range(iterations):
        tau, beta = (torch.tensor(value, dtype=torch.float64) for value in found)
        gradient = unrolled_gradients(
            inner,
            lambda params, _: log_loss(VALIDATION, params["w"]),
            {"w": torch.zeros(20, dtype=torch.float64)},
            (tau, beta),
            steps=STEPS,
            learning_rate=ETA,
            mode=mode,
        )
        found = [found[0] - rate * float(gradient.tau), found[1] - rate * float(gradient.beta)]
    return found[0], found[1]


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_learned_regularisation_is_what_a_grid_search_finds(mode: Mode, best: tuple[float, float]) -> None:
    """Near the optimum the validation loss is a round bowl (curvatures .015 and .018).

    So the best grid point lies within .75 of a spacing of the optimum in each coordinate: half a spacing if the bowl
    were exactly round. And the loss at what was learned, which need not lie on the grid, is not above the grid's best.
    """
    learned = learn(mode)
    assert learned == pytest.approx(best, abs=0.75 * SPACING)
    assert validated(*learned) <= validated(*best) + 1e-9
    assert validated(*learned) < validated(-1.0, 0.0) - 0.01  # and it had something to learn
