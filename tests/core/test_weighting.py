"""The weights and their dual against autograd, central differences, a general optimiser and hand-made values.

Central differences stay meaningful for extreme log q because log q is a log-probability: its largest entry
lies between −log G and 0, and every derivative of the dual is a moment Σ wᵢ ℓᵢⁿ, in which an entry of −1e4
has weight exp(−1e4/κ). What is extreme is the distance between entries. The scale on which the dual varies is
κ, so a sixth-order stencil of width 1e-3·κ truncates at about 1e-15 and rounds at about 1e-12.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from maxent_ray.core.weighting import (
    dual_curvature,
    dual_gradient,
    dual_hessian,
    dual_value,
    group_weights,
    listwise_log_q,
    listwise_q,
    log_group_weights,
    weight_entropy,
    weight_kl,
)

GROUP_SIZES = (2, 3, 5, 8, 16, 33, 64)
SPREADS = (0.1, 1.0, 10.0, 1e3, 1e4)
BATCHES = range(100)
SIXTH_ORDER = ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))
"""f'(x) ≈ Σ c (f(x + n h) − f(x − n h))/h, exact up to h⁶ f⁽⁷⁾/140."""


class Batch(NamedTuple):
    log_q: Tensor
    log_p: Tensor
    tau: float
    beta: float
    target_entropy: float
    target_kl: float


def random_batch(index: int) -> Batch:
    """Batch ``index`` of 100: every group size, spreads of log q up to 1e4, β = 0 in every fourth."""
    rng, generator = random.Random(index), torch.Generator().manual_seed(index)
    shape = (1 + index % 3, GROUP_SIZES[index % len(GROUP_SIZES)])
    spread = SPREADS[index % len(SPREADS)]
    log_q = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    log_p = rng.choice((0.3, 3.0, 30.0)) * torch.randn(shape, generator=generator, dtype=torch.float64)
    return Batch(
        log_q=log_q.log_softmax(-1),
        log_p=log_p.log_softmax(-1),
        tau=math.exp(rng.uniform(math.log(0.05), math.log(5))),
        beta=0.0 if index % 4 == 0 else math.exp(rng.uniform(math.log(0.01), math.log(5))),
        target_entropy=rng.uniform(0.1, math.log(shape[1])),
        target_kl=rng.uniform(0.01, 1.0),
    )


def leaves(batch: Batch) -> Tensor:
    return torch.tensor([batch.tau, batch.beta], dtype=torch.float64, requires_grad=True)


def dual(batch: Batch, point: Tensor) -> Tensor:
    return dual_value(batch.log_q, batch.log_p, point[0], point[1], batch.target_entropy, batch.target_kl)


def gradient(batch: Batch, point: Tensor) -> Tensor:
    return dual_gradient(batch.log_q, batch.log_p, point[0], point[1], batch.target_entropy, batch.target_kl)


def hessian(batch: Batch, point: Tensor) -> Tensor:
    return dual_hessian(batch.log_q, batch.log_p, point[0], point[1])


def central_differences(function: Callable[[Tensor], Tensor], point: Tensor, step: float) -> Tensor:
    """Derivatives of a function of (τ, β), the last axis numbering τ and β."""
    columns = []
    for direction in step * torch.eye(2, dtype=torch.float64):
        pairs = [
            (c, function(point + n * direction), function(point - n * direction)) for n, c in SIXTH_ORDER
        ]
        columns.append(torch.stack([c * (up - down) for c, up, down in pairs]).sum(0) / step)
    return torch.stack(columns, dim=-1)


def close(actual: Tensor, expected: Tensor) -> None:
    """To 1e-8, absolute below 1 and relative above."""
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("index", BATCHES)
def test_dual_gradient_and_hessian_are_those_of_the_dual(index: int) -> None:
    batch = random_batch(index)
    point = leaves(batch)
    by_autograd = torch.autograd.functional.hessian(lambda x: dual(batch, x), point)
    close(gradient(batch, point), torch.autograd.grad(dual(batch, point), point)[0])
    close(hessian(batch, point), by_autograd)

    fixed, step = point.detach(), 1e-3 * (batch.tau + batch.beta)
    close(gradient(batch, fixed), central_differences(lambda x: dual(batch, x), fixed, step))
    close(hessian(batch, fixed), central_differences(lambda x: gradient(batch, x), fixed, step))


def test_the_hundred_batches_cover_what_they_should() -> None:
    batches = [random_batch(index) for index in BATCHES]
    assert {batch.log_q.shape[1] for batch in batches} == set(GROUP_SIZES)
    assert sum(batch.beta == 0 for batch in batches) == 25
    assert sum(float(batch.log_q.min()) < -1e4 for batch in batches) >= 10
    # Some have weights on one completion only, some on all: both ends of the curvature.
    sharpest = [float(group_weights(b.log_q, b.log_p, b.tau, b.beta).max()) for b in batches]
    assert max(sharpest) == 1.0
    assert min(sharpest) < 0.1


def test_gradient_is_entropy_and_kl_by_hand() -> None:
    """G = 2, w = (.8, .2), p = (½, ½): H = −.8 ln .8 − .2 ln .2 and KL = ln 2 − H."""
    log_q = torch.tensor([[math.log(0.8), math.log(0.2)]], dtype=torch.float64)
    log_p = torch.full((1, 2), math.log(0.5), dtype=torch.float64)
    entropy = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    expected = torch.tensor([entropy - 0.4, -(math.log(2) - entropy - 0.1)], dtype=torch.float64)
    close(dual_gradient(log_q, log_p, 0.75, 0.25, target_entropy=0.4, target_kl=0.1), expected)


@pytest.mark.parametrize("index", range(0, 100, 7))
def test_curvature_is_the_derivative_of_entropy_and_of_minus_kl(index: int) -> None:
    batch = random_batch(index)

    def measured(point: Tensor) -> Tensor:
        weights = group_weights(batch.log_q, batch.log_p, point[0], point[1])
        return torch.stack([weight_entropy(weights), -weight_kl(weights, batch.log_p)])

    point = leaves(batch).detach()
    # [H or −KL; group; τ or β]
    derivatives = central_differences(measured, point, 1e-3 * (batch.tau + batch.beta))
    curvature = dual_curvature(batch.log_q, batch.log_p, batch.tau, batch.beta)
    close(curvature.tau_tau, derivatives[0, :, 0])
    close(curvature.tau_beta, derivatives[0, :, 1])
    close(curvature.tau_beta, derivatives[1, :, 0])  # the Hessian is symmetric
    close(curvature.beta_beta, derivatives[1, :, 1])


@pytest.mark.parametrize("tau", [1e-3, 1e-2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_autograd_survives_weights_that_underflow(tau: float, dtype: torch.dtype) -> None:
    """At a small τ losers have weight 0, where −w log w has no slope: autograd must give the closed form."""
    rewards = torch.tensor([[0.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    log_q = listwise_q(rewards, temperature=0.1, epsilon=1e-6).log().to(dtype)
    rho = torch.tensor([[-1.0, -2.0, -1.5, -0.5]], dtype=dtype)
    beta = 0.1 * tau
    leaf = torch.tensor([tau, beta], dtype=torch.float64, requires_grad=True)
    weights = group_weights(log_q, rho, leaf[0], leaf[1])
    assert bool((weights == 0).any())
    curvature = dual_curvature(log_q.double(), rho.double().log_softmax(-1), tau, beta)
    rtol = 1e-8 if dtype == torch.float64 else 0.05
    entropy_by = torch.autograd.grad(weight_entropy(weights).sum(), leaf, retain_graph=True)[0]
    kl_by = torch.autograd.grad(weight_kl(weights, rho).sum(), leaf)[0]
    expected = torch.stack([curvature.tau_tau, curvature.tau_beta]).flatten()
    torch.testing.assert_close(entropy_by, expected, rtol=rtol, atol=0)
    expected = -torch.stack([curvature.tau_beta, curvature.beta_beta]).flatten()
    torch.testing.assert_close(kl_by, expected, rtol=rtol, atol=0)


@pytest.mark.parametrize("index", range(1, 12))
def test_a_completion_that_the_reference_rules_out_leaves_the_group_without_it(index: int) -> None:
    """Weights, entropy, KL, dual, gradient, Hessian and autograd: log p = −∞ is a smaller group, unless β = 0."""
    batch = random_batch(index)
    ruled_out = batch.log_p.clone()
    ruled_out[:, 0] = -math.inf
    group = batch._replace(log_p=ruled_out.log_softmax(-1))
    smaller = batch._replace(log_q=batch.log_q[:, 1:], log_p=group.log_p[:, 1:])
    weights = group_weights(group.log_q, group.log_p, group.tau, group.beta)
    if group.beta == 0:
        expected = group_weights(batch.log_q, batch.log_p, batch.tau, 0.0)
        torch.testing.assert_close(weights, expected, rtol=1e-12, atol=1e-300)
        return
    assert not weights[:, 0].any()
    torch.testing.assert_close(weight_entropy(weights), weight_entropy(weights[:, 1:]), rtol=1e-12, atol=1e-15)
    for measure in (dual, gradient, hessian):
        points = leaves(group), leaves(smaller)
        found, expected = measure(group, points[0]), measure(smaller, points[1])
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        by, expected_by = (torch.autograd.grad(v.sum(), p)[0] for v, p in zip((found, expected), points, strict=True))
        torch.testing.assert_close(by, expected_by, rtol=1e-7, atol=1e-9)


# --- the weights ---


def objective(weights: Tensor, batch: Batch) -> Tensor:
    """What the weights maximise, per group: ⟨w, log q⟩ + τ H(w) − β KL(w‖p), written out anew."""
    log_weights = torch.where(weights > 0, weights, 1.0).log()
    entropy = -(weights * log_weights).sum(-1)
    kl = (weights * (log_weights - batch.log_p)).sum(-1)
    return (weights * batch.log_q).sum(-1) + batch.tau * entropy - batch.beta * kl


@pytest.mark.parametrize("index", range(0, 100, 5))
def test_weights_beat_every_feasible_perturbation(index: int) -> None:
    batch = random_batch(index)
    weights = group_weights(batch.log_q, batch.log_p, batch.tau, batch.beta)
    best = objective(weights, batch)
    generator = torch.Generator().manual_seed(index)
    for scale in (1e-6, 1e-3, 1e-1, 1.0):
        corners = torch.rand((200, *weights.shape), generator=generator, dtype=torch.float64).pow(4)
        other = (1 - scale) * weights + scale * corners / corners.sum(-1, keepdim=True)
        gain = objective(other, batch) - best
        assert float(gain.max()) <= 1e-9 * (1 + float(best.abs().max()))


@pytest.mark.parametrize("index", [1, 2, 6, 7, 11, 21])
def test_a_general_optimiser_finds_the_same_weights(index: int) -> None:
    batch = random_batch(index)
    one = Batch(batch.log_q[:1, :5], batch.log_p[:1, :5].log_softmax(-1), *batch[2:])
    size = one.log_q.shape[1]
    found = minimize(
        lambda w: -float(objective(torch.from_numpy(w)[None], one)),
        torch.full((size,), 1 / size, dtype=torch.float64).numpy(),
        method="SLSQP",
        bounds=[(1e-12, 1.0)] * size,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    ours = group_weights(one.log_q, one.log_p, one.tau, one.beta)
    torch.testing.assert_close(ours, torch.from_numpy(found.x)[None], rtol=0, atol=1e-4)


@pytest.mark.parametrize("index", range(0, 100, 9))
def test_the_dual_without_targets_is_the_objective_at_its_maximum(index: int) -> None:
    """Strong duality: κ log Σ exp ℓ is the value that the weights reach."""
    batch = random_batch(index)
    weights = group_weights(batch.log_q, batch.log_p, batch.tau, batch.beta)
    value = dual_value(batch.log_q, batch.log_p, batch.tau, batch.beta, target_entropy=0.0, target_kl=0.0)
    torch.testing.assert_close(value, objective(weights, batch).mean(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("index", BATCHES)
def test_weights_are_probabilities_that_know_no_origin_and_no_order(index: int) -> None:
    batch = random_batch(index)

    def weigh(log_q: Tensor, rho: Tensor) -> Tensor:
        return group_weights(log_q, rho, batch.tau, batch.beta)

    weights = weigh(batch.log_q, batch.log_p)
    one = torch.ones(len(weights), dtype=torch.float64)
    torch.testing.assert_close(weights.sum(-1), one, rtol=0, atol=1e-14)
    assert bool((weights >= 0).all())
    shift = torch.randn(len(weights), 1, generator=torch.Generator().manual_seed(index), dtype=torch.float64)
    # A shift rounds log q at 1e-16 of its size, and κ divides it: that sets the tolerance, not the formula.
    tolerance = 1e-15 * (1 + float(batch.log_q.abs().max())) / batch.tau + 1e-13
    torch.testing.assert_close(weigh(batch.log_q + shift, batch.log_p), weights, rtol=0, atol=tolerance)
    torch.testing.assert_close(weigh(batch.log_q, batch.log_p - shift), weights, rtol=0, atol=tolerance)
    order = torch.randperm(weights.shape[1], generator=torch.Generator().manual_seed(index))
    reordered = weigh(batch.log_q[:, order], batch.log_p[:, order])
    torch.testing.assert_close(reordered, weights[:, order], rtol=0, atol=1e-14)


@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("spread", [1e-2, 1.0, 1e4])
@pytest.mark.parametrize(("tau", "beta"), [(1e-3, 0.0), (1e-3, 1e-4), (0.3, 0.1), (100.0, 100.0)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_everything_is_finite_up_to_ten_thousand_nats(
    offset: float, spread: float, tau: float, beta: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    log_q = ((torch.rand(4, 8, generator=generator) * 2 - 1) * spread + offset).clamp(-1e4, 1e4).to(dtype)
    rho = (-1e4 * torch.rand(4, 8, generator=generator)).to(dtype)
    weights = group_weights(log_q, rho, tau, beta)
    values = [weights, weight_entropy(weights), weight_kl(weights, rho)]
    values += [*dual_curvature(log_q, rho.log_softmax(-1), tau, beta)]
    values += [log_group_weights(log_q, rho, tau, beta)]
    assert all(bool(value.isfinite().all()) for value in values)
    atol = 1e-14 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, dtype=dtype), rtol=0, atol=atol)


def test_weights_with_beta_zero_are_a_tempered_q() -> None:
    """β = 0: wᵢ ∝ qᵢ^(1/τ); with τ = ½ and q = (¼, ¾): (1, 9)/10."""
    log_q = torch.tensor([[0.25, 0.75]], dtype=torch.float64).log()
    rho = torch.tensor([[5.0, -5.0]], dtype=torch.float64)  # plays no part
    torch.testing.assert_close(group_weights(log_q, rho, 0.5, 0.0), torch.tensor([[0.1, 0.9]]).double())


def test_weights_with_a_large_beta_are_the_reference() -> None:
    rho = torch.tensor([[-1.0, -2.0, -4.0]], dtype=torch.float64)
    weights = group_weights(torch.tensor([[0.0, -3.0, -1.0]]).double(), rho, 0.3, 1e9)
    torch.testing.assert_close(weights, rho.softmax(-1), rtol=0, atol=1e-8)


def test_log_weights_reach_below_underflow() -> None:
    log_q = torch.tensor([[0.0, -900.0]], dtype=torch.float64)
    assert group_weights(log_q, torch.zeros_like(log_q), 1.0, 0.0)[0, 1] == 0
    assert log_group_weights(log_q, torch.zeros_like(log_q), 1.0, 0.0)[0, 1] == -900


def test_tied_rewards_without_a_reference_term_cannot_be_moved() -> None:
    """H = log G whatever τ is: the reason that tied groups are counted."""
    log_q = listwise_q(torch.ones(1, 8, dtype=torch.float64), 1.0, 1e-6).log()
    rho = torch.randn(1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for tau in (1e-3, 1.0, 100.0):
        weights = group_weights(log_q, rho, tau, 0.0)
        assert weight_entropy(weights).item() == pytest.approx(math.log(8), abs=1e-14)
        assert dual_curvature(log_q, rho, tau, 0.0).tau_tau.item() == pytest.approx(0.0, abs=1e-14)


def test_entropy_and_kl_of_known_weights() -> None:
    weights = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    close(weight_entropy(weights), torch.tensor([math.log(4), 0.0], dtype=torch.float64))
    rho = torch.tensor([[7.0, 7.0, 7.0, 7.0], [0.0, math.log(2), 0.0, 0.0]], dtype=torch.float64)
    # p is (¼, ¼, ¼, ¼) and (.2, .4, .2, .2)
    close(weight_kl(weights, rho), torch.tensor([0.0, math.log(5)], dtype=torch.float64))


# --- the dual ---


def test_the_dual_is_jointly_convex() -> None:
    rng = random.Random(0)
    for index in range(0, 100, 4):
        batch = random_batch(index + 1)
        for _ in range(20):
            a, b = (
                torch.tensor([10 ** rng.uniform(-2, 1), 10 ** rng.uniform(-2, 1)], dtype=torch.float64)
                for _ in range(2)
            )
            share = rng.random()
            chord = share * dual(batch, a) + (1 - share) * dual(batch, b)
            inside = dual(batch, share * a + (1 - share) * b)
            assert float(inside) <= float(chord) + 1e-11 * (1 + abs(float(chord)))
            eigenvalues = torch.linalg.eigvalsh(hessian(batch, a))
            assert float(eigenvalues.min()) >= -1e-10 * (1 + float(eigenvalues.max()))


def test_targets_enter_the_dual_linearly_and_its_hessian_not_at_all() -> None:
    batch = random_batch(3)
    point = leaves(batch).detach()
    targetless = dual_value(batch.log_q, batch.log_p, point[0], point[1], 0.0, 0.0)
    linear = -batch.tau * batch.target_entropy + batch.beta * batch.target_kl
    close(dual(batch, point), targetless + linear)
    close(dual_hessian(batch.log_q, batch.log_p, batch.tau, batch.beta, 1.2, 3.4), hessian(batch, point))


def damped_newton(batch: Batch, start: Tensor, tolerance: float) -> tuple[Tensor, int]:
    """Newton's method with backtracking inside τ, β > 0; returns the point and the iterations it took."""
    point, iterations = start, 0
    while float((slope := gradient(batch, point)).abs().max()) > tolerance and iterations < 50:
        step = -torch.linalg.solve(hessian(batch, point), slope)
        while not _improves(batch, point, step, slope):
            step = step / 2
        point, iterations = point + step, iterations + 1
    return point, iterations


def _improves(batch: Batch, point: Tensor, step: Tensor, slope: Tensor) -> bool:
    """Armijo's condition, up to rounding, at a point that keeps both coefficients positive."""
    if bool((point + step <= 0).any()):
        return False
    gain = float(dual(batch, point + step) - dual(batch, point))
    return gain <= 1e-4 * float(slope @ step) + 1e-15


@pytest.mark.parametrize("seed", range(10))
def test_a_damped_newton_loop_meets_both_targets(seed: int) -> None:
    """On a fixed batch whose targets some (τ*, β*) meets, from (1, 1): fewer than 15 iterations to 1e-10."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 2, (6, 8), generator=generator, dtype=torch.int64).double()
    log_q = listwise_q(rewards, temperature=1.0, epsilon=1e-6).log()
    log_p = (2 * torch.randn(6, 8, generator=generator, dtype=torch.float64)).log_softmax(-1)
    tau, beta = rng.uniform(0.2, 2.0), rng.uniform(0.2, 2.0)
    weights = group_weights(log_q, log_p, tau, beta)
    entropy, kl = float(weight_entropy(weights).mean()), float(weight_kl(weights, log_p).mean())
    batch = Batch(log_q, log_p, tau, beta, entropy, kl)
    solution, iterations = damped_newton(batch, torch.ones(2, dtype=torch.float64), 1e-11)
    assert iterations < 15
    met = group_weights(log_q, log_p, solution[0], solution[1])
    assert float(weight_entropy(met).mean()) == pytest.approx(batch.target_entropy, abs=1e-10)
    assert float(weight_kl(met, log_p).mean()) == pytest.approx(batch.target_kl, abs=1e-10)
    assert solution.tolist() == pytest.approx([tau, beta], rel=1e-6)


# --- q ---


def test_q_by_hand() -> None:
    """r = (0, ln 3), T = 1: softmax is (¼, ¾); ε = .2 mixes in (.1, .1)."""
    rewards = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
    close(listwise_q(rewards, 1.0, 0.0), torch.tensor([[0.25, 0.75]], dtype=torch.float64))
    close(listwise_q(rewards, 1.0, 0.2), torch.tensor([[0.3, 0.7]], dtype=torch.float64))
    close(listwise_q(rewards, 0.5, 0.0), torch.tensor([[0.1, 0.9]], dtype=torch.float64))


def test_smoothing_keeps_log_q_finite_and_the_mass_at_one() -> None:
    q = listwise_q(torch.tensor([[0.0, 1e6]], dtype=torch.float64), temperature=1e-3, epsilon=1e-6)
    assert q.sum().item() == pytest.approx(1, abs=1e-15)
    assert q[0, 0].item() == pytest.approx(5e-7)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_q_needs_a_positive_temperature(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"q temperature is {temperature}; it must be > 0"):
        listwise_q(torch.zeros(1, 2), temperature, 0.0)


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, math.nan])
def test_q_needs_a_smoothing_below_one(epsilon: float) -> None:
    with pytest.raises(ValueError, match=rf"q epsilon is {epsilon}; it must be in \[0, 1\)"):
        listwise_q(torch.zeros(1, 2), 1.0, epsilon)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.2])
def test_log_q_is_the_logarithm_of_q_and_finite_where_q_underflows(epsilon: float) -> None:
    rewards = torch.tensor([[0.0, 1.0, 0.25], [1.0, 1.0, 0.0]])
    expected = listwise_q(rewards, 0.5, epsilon).log()
    torch.testing.assert_close(listwise_log_q(rewards, 0.5, epsilon), expected)
    sharp = listwise_log_q(rewards, 1e-3, epsilon)
    assert bool(sharp.isfinite().all())
    assert sharp[0, 0].item() == pytest.approx(math.log(epsilon / 3) if epsilon else -1000, rel=1e-5)
    with pytest.raises(ValueError, match="q temperature"):
        listwise_log_q(rewards, 0.0, epsilon)
