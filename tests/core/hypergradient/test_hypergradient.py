"""Derivatives through an unroll against closed forms and central differences, in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from maxent_ray.core.hypergradient import CoefficientTensors, OuterLoss, Params, unrolled_gradients
from maxent_ray.core.weighting import group_weights, weight_entropy
from tests.core.hypergradient.linear_quadratic import B_TAU, BETA, C_BETA, ETA, TAU, THETA, A, quadratic, scalar

# --- the linear-quadratic inner loop ---


def geometric(steps: int, eta: float = ETA) -> float:
    return float(sum((1 - eta * A) ** j for j in range(steps)))


@pytest.mark.parametrize("steps", range(1, 17))
def test_linear_quadratic_loop_has_its_closed_form(steps: int) -> None:
    """dθ_K/dτ = ηb Σ_{j<K}(1 − ηa)^j (Franceschi et al. 2017), and likewise for β."""
    result = unrolled_gradients(
        quadratic,
        lambda params, _: params["theta"],
        {"theta": scalar(THETA)},
        (scalar(TAU), scalar(BETA)),
        steps=steps,
        learning_rate=ETA,
    )
    assert isinstance(result.tau, float)
    assert isinstance(result.beta, float)
    assert isinstance(result.outer_value, float)
    assert result.tau == pytest.approx(ETA * B_TAU * geometric(steps), abs=1e-10)
    assert result.beta == pytest.approx(ETA * C_BETA * geometric(steps), abs=1e-10)
    drive = ETA * (B_TAU * TAU + C_BETA * BETA) * geometric(steps)
    assert result.outer_value == pytest.approx((1 - ETA * A) ** steps * THETA + drive, abs=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 16])
def test_outer_functions_may_use_the_coefficients_directly(steps: int) -> None:
    """F = θ_K² + τβ: dF/dτ = 2θ_K·dθ_K/dτ + β."""
    result = unrolled_gradients(
        quadratic,
        lambda params, c: params["theta"] ** 2 + c[0] * c[1],
        {"theta": scalar(THETA)},
        (scalar(TAU), scalar(BETA)),
        steps=steps,
        learning_rate=ETA,
    )
    drive = ETA * (B_TAU * TAU + C_BETA * BETA) * geometric(steps)
    theta = (1 - ETA * A) ** steps * THETA + drive
    assert result.tau == pytest.approx(2 * theta * ETA * B_TAU * geometric(steps) + BETA, abs=1e-10)
    assert result.beta == pytest.approx(2 * theta * ETA * C_BETA * geometric(steps) + TAU, abs=1e-10)


def test_each_parameter_and_each_entry_has_its_own_learning_rate() -> None:
    rates = {"x": torch.tensor([0.1, 0.3], dtype=torch.float64), "y": scalar(0.5)}
    start = {"x": torch.tensor([1.0, -1.0], dtype=torch.float64), "y": scalar(2.0)}

    def inner(params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
        return quadratic({"theta": params["x"]}, coefficients, k) + quadratic({"theta": params["y"]}, coefficients, k)

    result = unrolled_gradients(
        inner,
        lambda params, _: torch.cat([params["x"], params["y"].reshape(1)]),
        start,
        (scalar(TAU), scalar(BETA)),
        steps=5,
        learning_rate=rates,
    )
    etas = (0.1, 0.3, 0.5)
    expected = torch.tensor([eta * B_TAU * geometric(5, eta) for eta in etas], dtype=torch.float64)
    torch.testing.assert_close(result.tau, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(result.beta, expected * C_BETA / B_TAU, rtol=0, atol=1e-12)


def test_truncation_bias_decays_geometrically() -> None:
    """The limit is b/a; what K steps miss of it is (1 − ηa)^K of it (Shaban et al. 2019)."""
    for steps in (1, 4, 16):
        result = unrolled_gradients(
            quadratic,
            lambda params, _: params["theta"],
            {"theta": scalar(THETA)},
            (scalar(TAU), scalar(BETA)),
            steps=steps,
            learning_rate=ETA,
        )
        bias = (1 - ETA * A) ** steps * B_TAU / A
        assert B_TAU / A - result.tau == pytest.approx(bias, abs=1e-12)


# --- a two-layer network ---


class Network:
    """Scores of four completions of six prompts by tanh(xW₁ + b)W₂, trained as a policy with a KL term is."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.params = {"w1": 0.7 * draw(5, 8), "b": 0.1 * draw(8), "w2": 0.7 * draw(8, 1)}
        self.inputs, self.rewards, self.rho = draw(6, 4, 5), draw(6, 4), draw(6, 4)

    def logits(self, params: Params) -> Tensor:
        hidden = torch.tanh(self.inputs @ params["w1"] + params["b"])
        return (hidden @ params["w2"]).squeeze(-1)

    def inner(self, params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
        """A cross-entropy to the weights; the rewards turn with k, so that steps differ."""
        tau, beta = coefficients
        weights = group_weights(self.rewards.roll(k, -1), self.rho, tau, beta)
        log_policy = self.logits(params).log_softmax(-1)
        kl = (log_policy.exp() * (log_policy - self.rho.log_softmax(-1))).sum(-1).mean()
        return -(weights * log_policy).sum(-1).mean() + beta * kl

    def outer(self, params: Params, coefficients: CoefficientTensors) -> Tensor:
        """Entropy and KL after the unroll, and something that the coefficients enter directly."""
        log_policy = self.logits(params).log_softmax(-1)
        entropy = weight_entropy(log_policy.exp()).mean()
        kl = (log_policy.exp() * (log_policy - self.rho.log_softmax(-1))).sum(-1).mean()
        weights = group_weights(self.rewards, self.rho, *coefficients)
        return torch.stack([entropy, kl, weight_entropy(weights).mean()])

    def gradients(self, steps: int, **options: Any) -> Any:
        arguments: dict[str, Any] = {"learning_rate": 0.4, **options}
        return unrolled_gradients(
            self.inner, self.outer, self.params, (scalar(TAU), scalar(BETA)), steps=steps, **arguments
        )

    def after(self, steps: int, tau: float, beta: float, rates: Mapping[str, Tensor] | float) -> Tensor:
        """The outer value after plain gradient descent, each step a fresh leaf: no unroll anywhere."""
        coefficients = (scalar(tau), scalar(beta))
        current = self.params
        for k in range(steps):
            leaves = {name: value.detach().clone().requires_grad_() for name, value in current.items()}
            gradients = torch.autograd.grad(self.inner(leaves, coefficients, k), list(leaves.values()))
            current = {
                name: leaf.detach() - (rates if isinstance(rates, float) else rates[name]) * gradient
                for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
            }
        return self.outer(current, coefficients)

    def differences(self, steps: int, rates: Mapping[str, Tensor] | float) -> tuple[Tensor, Tensor]:
        """Fourth-order central differences in τ and β."""

        def slope(d_tau: float, d_beta: float, h: float = 1e-3) -> Tensor:
            def at(n: int) -> Tensor:
                return self.after(steps, TAU + n * h * d_tau, BETA + n * h * d_beta, rates)

            return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)

        return slope(1, 0), slope(0, 1)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_two_layer_network_agrees_with_central_differences(steps: int) -> None:
    network = Network()
    result = network.gradients(steps)
    by_tau, by_beta = network.differences(steps, 0.4)
    torch.testing.assert_close(result.tau, by_tau, rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(result.beta, by_beta, rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(result.outer_value, network.after(steps, TAU, BETA, 0.4), rtol=1e-12, atol=0)


def test_preconditioned_steps_agree_with_central_differences() -> None:
    network = Network(seed=1)
    generator = torch.Generator().manual_seed(2)
    rates = {
        name: 0.1 + torch.rand(value.shape, generator=generator, dtype=torch.float64)
        for name, value in network.params.items()
    }
    result = network.gradients(3, learning_rate=rates)
    by_tau, by_beta = network.differences(3, rates)
    torch.testing.assert_close(result.tau, by_tau, rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(result.beta, by_beta, rtol=1e-6, atol=1e-10)


def test_m_outputs_at_once_equal_m_scalar_calls() -> None:
    network = Network()
    together = network.gradients(3)
    assert together.tau.shape == together.beta.shape == together.outer_value.shape == (3,)

    def select(index: int) -> OuterLoss:
        return lambda params, coefficients: network.outer(params, coefficients)[index]

    for index in range(3):
        alone = unrolled_gradients(
            network.inner,
            select(index),
            network.params,
            (scalar(TAU), scalar(BETA)),
            steps=3,
            learning_rate=0.4,
        )
        assert alone.tau == pytest.approx(together.tau[index].item(), rel=1e-12)
        assert alone.beta == pytest.approx(together.beta[index].item(), rel=1e-12)
        assert alone.outer_value == together.outer_value[index].item()


def test_one_output_in_a_vector_stays_a_vector() -> None:
    network = Network()
    result = unrolled_gradients(
        network.inner,
        lambda params, c: network.outer(params, c)[:1],
        network.params,
        (scalar(TAU), scalar(BETA)),
        steps=1,
        learning_rate=0.4,
    )
    assert isinstance(result.tau, Tensor)
    assert result.tau.shape == (1,)


def test_the_number_of_steps_matters() -> None:
    """K = 1, 2, 4 give different sensitivities of KL: a setting without effect would be a label only."""
    network = Network()
    sensitivities = [network.gradients(steps).beta[1].item() for steps in (1, 2, 4)]
    assert abs(sensitivities[0] - sensitivities[1]) > 0.1 * abs(sensitivities[0])
    assert abs(sensitivities[1] - sensitivities[2]) > 0.1 * abs(sensitivities[1])


def test_inner_steps_are_numbered_from_zero() -> None:
    seen = []

    def inner(params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
        seen.append(k)
        return quadratic(params, coefficients, k)

    unrolled_gradients(
        inner,
        lambda params, _: params["theta"],
        {"theta": scalar(THETA)},
        (scalar(TAU), scalar(BETA)),
        steps=4,
        learning_rate=ETA,
    )
    assert seen == [0, 1, 2, 3]


def test_the_callers_tensors_are_neither_changed_nor_tracked() -> None:
    network = Network()
    trainable = {name: value.clone().requires_grad_() for name, value in network.params.items()}
    before = {name: value.detach().clone() for name, value in trainable.items()}
    tau, beta = scalar(TAU).requires_grad_(), scalar(BETA)
    unrolled_gradients(network.inner, network.outer, trainable, (tau, beta), steps=2, learning_rate=0.4)
    assert all(torch.equal(trainable[name].detach(), before[name]) for name in before)
    assert all(value.grad is None for value in trainable.values())
    assert tau.grad is None
    assert not beta.requires_grad
    assert (tau.item(), beta.item()) == (TAU, BETA)


def test_a_callers_no_grad_changes_nothing() -> None:
    network = Network()
    expected = network.gradients(2)
    with torch.no_grad():
        result = network.gradients(2)
    assert bool(expected.tau.abs().min() > 0)
    torch.testing.assert_close(result.tau, expected.tau, rtol=0, atol=0)
    torch.testing.assert_close(result.beta, expected.beta, rtol=0, atol=0)


def test_parameters_outside_the_loss_stay_and_outputs_outside_the_unroll_are_zero() -> None:
    result = unrolled_gradients(
        quadratic,
        lambda params, _: torch.stack([params["theta"], params["unused"], scalar(5.0)]),
        {"theta": scalar(THETA), "unused": scalar(7.0)},
        (scalar(TAU), scalar(BETA)),
        steps=2,
        learning_rate=ETA,
    )
    assert isinstance(result.outer_value, Tensor)
    assert isinstance(result.tau, Tensor)
    assert result.outer_value[1:].tolist() == [7.0, 5.0]
    assert result.tau[1:].tolist() == [0.0, 0.0]
    assert result.tau[0].item() == pytest.approx(ETA * B_TAU * geometric(2))


# --- bad input ---


@pytest.mark.parametrize("steps", [0, -1])
def test_fewer_than_one_step_is_an_error(steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps is {steps}; it must be >= 1"):
        Network().gradients(steps)


def test_an_unknown_mode_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="hypergradient mode is 'backward'; valid: forward, reverse, first_order"):
        Network().gradients(1, mode="backward")


def test_a_learning_rate_without_a_parameter_is_an_error() -> None:
    rates = {"w1": scalar(0.1)}
    with pytest.raises(ValueError, match=r"learning_rate has no entry for the parameters \['b', 'w2'\]"):
        Network().gradients(1, learning_rate=rates)


def test_an_outer_value_with_two_dimensions_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"returned shape \(2, 2\); it must return a scalar or a 1-D tensor"):
        unrolled_gradients(
            quadratic,
            lambda params, _: params["theta"].expand(2, 2),
            {"theta": scalar(THETA)},
            (scalar(TAU), scalar(BETA)),
            steps=1,
            learning_rate=ETA,
        )
