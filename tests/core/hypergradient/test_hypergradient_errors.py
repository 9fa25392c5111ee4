"""Bad input to an unroll: one error, which names what is wrong; and what is no error."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from maxent_ray.core.hypergradient import CoefficientTensors, Hypergradient, Mode, Params, unrolled_gradients
from maxent_ray.errors import HypergradientError, MaxentRayError
from tests.core.hypergradient.linear_quadratic import scalar

MODES: list[Mode] = ["forward", "reverse", "first_order"]
every_mode = pytest.mark.parametrize("mode", MODES)


def inner(params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
    tau, beta = coefficients
    return 0.5 * params["x"] ** 2 - (tau - 2 * beta) * params["x"]


def outer(params: Params, coefficients: CoefficientTensors) -> Tensor:
    return params["x"]


def unroll(**changes: Any) -> Hypergradient:
    arguments: dict[str, Any] = {
        "inner_loss": inner,
        "outer_loss": outer,
        "params": {"x": scalar(1.0)},
        "coefficients": (scalar(0.3), scalar(0.1)),
        "steps": 2,
        "learning_rate": 0.5,
        **changes,
    }
    return unrolled_gradients(**arguments)


def test_the_error_is_ours_and_a_value_error() -> None:
    assert issubclass(HypergradientError, MaxentRayError)
    assert issubclass(HypergradientError, ValueError)


@every_mode
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be >= 1"),
        ({"gradient_clip": 0.0}, r"gradient_clip is 0\.0; it must be finite and > 0, or None"),
        ({"gradient_clip": math.nan}, "gradient_clip is nan"),
        ({"params": {}}, "params is empty"),
        ({"params": {"x": scalar(1.0), "n": torch.tensor(3)}}, r"parameters without gradients: n \(torch\.int64\)"),
        ({"inner_loss": lambda p, c, k: (c[0] * p["x"]).expand(3)}, r"inner_loss returned shape \(3,\) at step 0"),
        ({"inner_loss": lambda p, c, k: c[0] * c[1]}, r"no gradient to any of the parameters \['x'\]"),
        ({"inner_loss": lambda p, c, k: p["x"].detach() ** 2}, r"no gradient to any of the parameters \['x'\]"),
        ({"outer_loss": lambda p, c: p["x"].expand(2, 2)}, r"shape \(2, 2\); it must return a scalar or"),
        ({"outer_loss": lambda p, c: p["x"].new_zeros(0)}, r"shape \(0,\); it must return a scalar or"),
        ({"learning_rate": {"y": 0.1}}, r"no entry for the parameters \['x'\]"),
    ],
)
def test_bad_input_is_named(mode: Mode, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HypergradientError, match=message):
        unroll(mode=mode, **changes)


@pytest.mark.parametrize("mode", ["forward", "first_order"])
def test_checkpoints_belong_to_reverse(mode: Mode) -> None:
    with pytest.raises(HypergradientError, match=f"checkpoint is True and mode is '{mode}'"):
        unroll(mode=mode, checkpoint=True)


# --- a coefficient that nothing depends on ---

UNUSED = [
    (lambda p, c, k: p["x"] ** 2 - c[1] * p["x"], "tau"),
    (lambda p, c, k: p["x"] ** 2 - c[0] * p["x"], "beta"),
    (lambda p, c, k: p["x"] ** 2, "tau or beta"),
]


@every_mode
@pytest.mark.parametrize(("loss", "names"), UNUSED)
def test_a_coefficient_without_effect_is_named(mode: Mode, loss: Any, names: str) -> None:
    with pytest.raises(HypergradientError, match=rf"neither inner_loss nor outer_loss depends on {names};"):
        unroll(mode=mode, inner_loss=loss)


def test_checkpoints_do_not_hide_it() -> None:
    with pytest.raises(HypergradientError, match="depends on beta;"):
        unroll(inner_loss=UNUSED[1][0], checkpoint=True)


@every_mode
def test_one_place_is_enough(mode: Mode) -> None:
    """In the outer function only, or in the first of the inner steps only."""
    direct = unroll(mode=mode, inner_loss=UNUSED[1][0], outer_loss=lambda p, c: p["x"] + 3 * c[1])
    assert direct.beta == pytest.approx(3.0)
    early = unroll(mode=mode, inner_loss=lambda p, c, k: inner(p, c, k) if k == 0 else 0.5 * p["x"] ** 2)
    assert early.tau == (0.0 if mode == "first_order" else pytest.approx(0.25))  # first order sees the last step alone


@every_mode
def test_a_derivative_that_is_zero_is_no_error(mode: Mode) -> None:
    """τ enters the loss, but not its gradient."""
    result = unroll(mode=mode, inner_loss=lambda p, c, k: inner(p, (scalar(0.3), c[1]), k) + c[0] ** 2)
    assert result.tau == 0.0
    assert result.beta != 0.0


@every_mode
def test_one_parameter_of_several_may_be_left_out(mode: Mode) -> None:
    params = {"x": scalar(1.0), "frozen": torch.ones(3, dtype=torch.float64)}
    alone, beside = unroll(mode=mode), unroll(mode=mode, params=params, gradient_clip=1e3)
    assert (beside.tau, beside.beta) == pytest.approx((alone.tau, alone.beta), rel=1e-12)


# --- numbers that are not finite are handed back ---


@every_mode
def test_an_unroll_that_overflows_comes_back_as_it_is(mode: Mode) -> None:
    result = unroll(
        mode=mode, inner_loss=lambda p, c, k: -(p["x"] ** 4) - (c[0] + c[1]) * p["x"], steps=8, learning_rate=100.0
    )
    assert not math.isfinite(result.outer_value)
    # K direct terms are finite here: it is the value that tells
    assert mode == "first_order" or not math.isfinite(result.tau)
