"""Step rules against torch's optimisers and against numbers worked out by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from maxent_ray.core.update_rules import (
    LOG_STEP_LIMIT,
    Signal,
    UpdateRule,
    adam,
    chain,
    newton,
    project,
    proportional_integral,
    sgd,
)

STEPS = 100


def trajectory(rule: UpdateRule, value: float, gradients: Sequence[float]) -> list[float]:
    """The values after each gradient, every step starting from the value before it."""
    state, values = rule.init(value), []
    for gradient in gradients:
        signal, state = rule.update(Signal(gradient=gradient, value=value), state)
        value = signal.value
        values.append(value)
    return values


def torch_trajectory(
    optimiser: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
    value: float,
    gradients: Sequence[float],
) -> list[float]:
    parameter = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    stepper, values = optimiser([parameter]), []
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        stepper.step()
        values.append(parameter.item())
    return values


def random_gradients(seed: int) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(0.0, 1.0) * 10 ** draw.uniform(-3, 1) for _ in range(STEPS)]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("learning_rate", [1e-3, 0.1, 1.0])
def test_sgd_is_torch_sgd(learning_rate: float, momentum: float) -> None:
    for seed in range(5):
        gradients = random_gradients(seed)
        expected = torch_trajectory(
            lambda p: torch.optim.SGD(p, lr=learning_rate, momentum=momentum), 0.3, gradients
        )
        actual = trajectory(sgd(learning_rate, momentum=momentum), 0.3, gradients)
        assert actual == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.99), (0.5, 0.5), (0.9, 0.0)])
@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_adam_is_torch_adam(betas: tuple[float, float], eps: float) -> None:
    for seed in range(5):
        gradients = random_gradients(seed)
        expected = torch_trajectory(
            lambda p: torch.optim.Adam(p, lr=0.05, betas=betas, eps=eps), 0.3, gradients
        )
        actual = trajectory(adam(0.05, betas=betas, eps=eps), 0.3, gradients)
        assert actual == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    ("rule_in", "optimiser"),
    [
        (
            lambda space: sgd(0.02, momentum=0.9, space=space),
            lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
        ),
        (lambda space: adam(0.02, space=space), lambda p: torch.optim.Adam(p, lr=0.02)),
    ],
    ids=["sgd", "adam"],
)
def test_log_space_is_the_linear_rule_on_the_logarithm(
    rule_in: Callable[[str], UpdateRule],
    optimiser: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
) -> None:
    gradients = random_gradients(3)
    logs = torch_trajectory(optimiser, math.log(0.3), gradients)
    values = trajectory(rule_in("log"), 0.3, gradients)
    assert [math.log(value) for value in values] == pytest.approx(logs, rel=1e-11, abs=1e-11)


def test_sgd_log_space_by_hand() -> None:
    # One step at lr = .5, g = 2 multiplies by e^−1, whatever the value: there is no chain-rule factor.
    for value in (1e-6, 0.2, 40.0):
        assert trajectory(sgd(0.5, space="log"), value, [2.0])[0] == pytest.approx(value / math.e, rel=1e-15)


def test_sgd_momentum_by_hand() -> None:
    # u: 1, .5·1 + 1 = 1.5, .5·1.5 − 2 = −1.25; v: 1 − .1, .9 − .15, .75 + .125
    assert trajectory(sgd(0.1, momentum=0.5), 1.0, [1.0, 1.0, -2.0]) == pytest.approx([0.9, 0.75, 0.875])


@pytest.mark.parametrize("space", ["linear", "log"])
def test_a_zero_gradient_is_a_fixed_point(space: str) -> None:
    for rule in (
        sgd(0.5, space=space, momentum=0.9),
        adam(0.5, space=space),
        newton(0.1, space=space),
        proportional_integral(1.0, 0.5, space=space),
    ):
        state = rule.init(0.37)
        for _ in range(3):
            signal, state = rule.update(Signal(gradient=0.0, value=0.37, curvature=2.0), state)
            assert signal.value == 0.37
            assert signal.events == ()


def test_log_space_descends_to_the_root_of_the_error() -> None:
    # error g(v) = log v − log .05: in log space a contraction by 1 − .3 a step, from either side.
    for start in (0.0005, 5.0):
        rule, value = sgd(0.3, space="log"), start
        for _ in range(60):
            signal = Signal(gradient=math.log(value) - math.log(0.05), value=value)
            value = rule.update(signal, rule.init(value))[0].value
        expected = math.log(start / 0.05) * 0.7**60
        assert math.log(value / 0.05) == pytest.approx(expected, abs=1e-12)
        assert value == pytest.approx(0.05, rel=1e-6)


def test_log_space_keeps_a_coefficient_positive() -> None:
    draw = random.Random(11)
    for rule in (
        sgd(1.0, space="log", momentum=0.5),
        adam(2.0, space="log"),
        newton(1e-3, space="log"),
        proportional_integral(1.0, 1.0),
    ):
        boxed = chain(step=rule, box=project(1e-8, 1e3))
        value, state = 0.1, boxed.init(0.1)
        for _ in range(200):
            gradient = draw.gauss(0, 1) * 10 ** draw.uniform(-2, 6)
            stepped, _ = rule.update(
                Signal(gradient=gradient, value=value, curvature=1.0),
                state.get("step", {}),
            )
            assert stepped.value > 0
            signal, state = boxed.update(Signal(gradient=gradient, value=value, curvature=1.0), state)
            value = signal.value
            assert 1e-8 <= value <= 1e3


@pytest.mark.parametrize("gradient", [1e9, -1e9, 1e300, -1e300])
def test_log_space_never_overflows_the_exponential(gradient: float) -> None:
    signal, _ = sgd(1e10, space="log").update(Signal(gradient=gradient, value=0.1), {"velocity": 0.0})
    assert signal.value == pytest.approx(0.1 * math.exp(math.copysign(LOG_STEP_LIMIT, -gradient)))
    assert signal.events == ("clipped",)


def test_log_space_stops_at_the_edge_of_the_floats() -> None:
    rule = sgd(1.0, space="log")
    for value, gradient in ((1e-310, 50.0), (1e300, -50.0)):
        with pytest.raises(ValueError, match="bounded by `project`"):
            rule.update(Signal(gradient=gradient, value=value), rule.init(value))


def test_newton_linear_by_hand() -> None:
    # g = .6, c + damping = 2.5 + .5: full step −.2; half the rate: −.1
    signal = Signal(gradient=0.6, value=1.0, curvature=2.5)
    assert newton(0.5).update(signal, {})[0].value == pytest.approx(0.8, rel=1e-15)
    assert newton(0.5, learning_rate=0.5).update(signal, {})[0].value == pytest.approx(0.9, rel=1e-15)


def test_newton_log_by_hand() -> None:
    # v = .2, dg/dv = 10: dg/d log v = 2, damping .5: Δ log v = −.75/2.5 = −.3
    signal = Signal(gradient=0.75, value=0.2, curvature=10.0)
    assert newton(0.5, space="log").update(signal, {})[0].value == pytest.approx(
        0.2 * math.exp(-0.3), rel=1e-15
    )


def test_newton_solves_an_error_linear_in_its_space_at_once() -> None:
    # g = 3(v − .4) has its root after one undamped linear step, g = 3(log v − log .4) after one log step.
    linear, _ = newton(1e-14).update(Signal(gradient=3 * (0.9 - 0.4), value=0.9, curvature=3.0), {})
    assert linear.value == pytest.approx(0.4, rel=1e-12)
    error = 3 * (math.log(0.9) - math.log(0.4))
    log, _ = newton(1e-14, space="log").update(Signal(gradient=error, value=0.9, curvature=3.0 / 0.9), {})
    assert log.value == pytest.approx(0.4, rel=1e-12)


def test_newton_converges_quadratically_on_a_nonlinear_error() -> None:
    # g(v) = v² − 2: with vanishing damping the error squares, e' = e²/(2v).
    rule, value = newton(1e-15), 2.0
    for _ in range(4):
        error = value - math.sqrt(2)
        following = rule.update(Signal(gradient=value**2 - 2, value=value, curvature=2 * value), {})[0].value
        assert following - math.sqrt(2) == pytest.approx(error**2 / (2 * value), abs=1e-14)
        value = following
    assert value == pytest.approx(math.sqrt(2), abs=1e-11)


@pytest.mark.parametrize(
    ("space", "expected"), [("linear", 0.2 - 0.05), ("log", 0.2 * math.exp(-0.05))], ids=["linear", "log"]
)
def test_newton_limits_the_step_on_a_flat_batch(space: str, expected: float) -> None:
    signal, _ = newton(1e-6, max_step=0.05, space=space).update(
        Signal(gradient=0.3, value=0.2, curvature=0.0), {}
    )
    assert signal.value == pytest.approx(expected, rel=1e-15)
    assert signal.events == ("clipped",)


@pytest.mark.parametrize("space", ["linear", "log"])
def test_newton_refuses_to_climb_or_to_guess(space: str) -> None:
    rule = newton(0.1, space=space)
    with pytest.raises(ValueError, match="curvature is None"):
        rule.update(Signal(gradient=0.1, value=1.0), {})
    with pytest.raises(ValueError, match="curvature is nan"):
        rule.update(Signal(gradient=0.1, value=1.0, curvature=math.nan), {})
    with pytest.raises(ValueError, match=r"curvature is -0\.2"):
        rule.update(Signal(gradient=0.1, value=1.0, curvature=-0.2), {})


def test_proportional_integral_by_hand() -> None:
    # Δ₁ = −.5·.4 (g_prev = g₁); Δ₂ = −(.5·.3 + 2·(−.1)) = .05; Δ₃ = −(.5·.3 + 0) = −.15
    rule = proportional_integral(2.0, 0.5, space="linear")
    assert trajectory(rule, 1.0, [0.4, 0.3, 0.3]) == pytest.approx([0.8, 0.85, 0.7], rel=1e-14)


@pytest.mark.parametrize("space", ["linear", "log"])
def test_velocity_form_sums_to_the_position_form(space: str) -> None:
    # Σ Δ = −I·Σ g − P·(g_T − g_1): the position form of a PI controller, up to its constant.
    gradients = [gradient / 10 for gradient in random_gradients(5)]
    proportional, integral = 0.7, 0.05
    last = trajectory(proportional_integral(proportional, integral, space=space), 0.3, gradients)[-1]
    moved = last - 0.3 if space == "linear" else math.log(last / 0.3)
    expected = -integral * math.fsum(gradients) - proportional * (gradients[-1] - gradients[0])
    assert moved == pytest.approx(expected, rel=1e-10)


def test_without_a_proportional_term_it_is_sgd() -> None:
    gradients = random_gradients(6)
    assert trajectory(proportional_integral(0.0, 0.02), 0.3, gradients) == trajectory(
        sgd(0.02, space="log"), 0.3, gradients
    )


def test_nothing_winds_up_at_a_bound() -> None:
    rule = chain(step=proportional_integral(0.5, 0.1), box=project(0.01, 0.1))
    value, state = 0.1, rule.init(0.1)
    for _ in range(500):  # an unreachable target: the error stays, the value sits on its bound
        signal, state = rule.update(Signal(gradient=-1.0, value=value), state)
        value = signal.value
        assert signal.events == ("projected_high",)
    signal, state = rule.update(Signal(gradient=0.2, value=value), state)
    # One step of the other sign: Δ = −(.1·.2 + .5·1.2), as if the 500 steps had not been.
    assert signal.value == pytest.approx(0.1 * math.exp(-(0.02 + 0.6)), rel=1e-14)
    assert signal.events == ()


def test_log_space_needs_a_positive_coefficient() -> None:
    for rule in (
        sgd(0.1, space="log"),
        adam(0.1, space="log"),
        newton(0.1, space="log"),
        proportional_integral(0.1, 0.1),
    ):
        for value in (0.0, -0.1):
            with pytest.raises(ValueError, match=r"value is .*positive for a step in log space"):
                rule.update(Signal(gradient=0.1, value=value, curvature=0.0), rule.init(value))


def test_a_step_leaves_the_rest_of_the_signal_alone() -> None:
    signal = Signal(
        gradient=0.1, value=0.5, curvature=1.0, measured=0.2, target=0.1, count=3, events=("clipped",)
    )
    for rule in (sgd(0.1), adam(0.1), newton(0.1), proportional_integral(0.1, 0.1)):
        moved, _ = rule.update(signal, rule.init(0.5))
        assert moved.value < signal.value
        assert replace(moved, value=0.5) == signal
