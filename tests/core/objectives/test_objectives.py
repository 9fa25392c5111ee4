"""The published controller-objective API, row by row of the contract."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace as View
from typing import Any

import pytest

from maxent_ray.config import load_config
from maxent_ray.core.objectives import (
    ANALYTIC_METHODS,
    TRUNCATED_METHODS,
    AnalyticControllerObjective,
    ControllerGradients,
    ControllerMetaContext,
    ControllerObjective,
    TruncatedBackpropControllerObjective,
    build_controller_objective,
)
from maxent_ray.errors import ConfigError, UnknownObjectiveError


def context(**changes: Any) -> ControllerMetaContext:
    """H = 1.75 against 1.5 and KL = .125 against .25, unless told otherwise."""
    values: dict[str, Any] = {
        "weighting": View(tau_target_entropy=1.5, kl_target=0.25),
        "weight_stats": View(weight_entropy=1.75),
        "loss_outputs": View(kl_loss_scalar=0.125),
        "global_step": 7,
    }
    return ControllerMetaContext(**{**values, **changes})


# --- ControllerGradients ---


@pytest.mark.parametrize(
    ("tau_grad", "beta_grad", "expected"),
    [
        (None, None, False),
        (0.0, None, True),
        (None, -1.5, True),
        (math.nan, None, False),
        (math.inf, -math.inf, False),
        (math.nan, 0.5, True),
    ],
)
def test_has_updates_when_either_signal_is_a_finite_number(
    tau_grad: float | None, beta_grad: float | None, expected: bool
) -> None:
    assert ControllerGradients(tau_grad, beta_grad).has_updates() is expected


def test_gradients_without_arguments_carry_nothing() -> None:
    empty = ControllerGradients()
    assert (empty.tau_grad, empty.beta_grad, empty.source) == (None, None, "")


# --- ControllerMetaContext ---


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(weight_entropy=1.25, entropy=9.0), 1.25),
        (View(weight_entropy=0.0, entropy=9.0), 0.0),  # zero is a measurement
        (View(weight_entropy=None, entropy=0.5), 0.5),
        (View(entropy=0.5), 0.5),
        (View(weight_entropy=None, entropy=None), None),
        (View(), None),
        (None, None),
    ],
)
def test_entropy_is_the_weights_else_the_logging_views(view: Any, expected: float | None) -> None:
    assert context(weight_stats=view).entropy_value() == expected


@pytest.mark.parametrize(
    ("kl_value", "outputs", "expected"),
    [
        (0.5, View(kl_loss_scalar=9.0), 0.5),
        (0.0, View(kl_loss_scalar=9.0), 0.0),
        (None, View(kl_loss_scalar=0.25), 0.25),
        (None, View(kl_loss_scalar=None), None),
        (None, View(), None),
        (None, None, None),
    ],
)
def test_kl_is_the_value_given_else_the_losss(kl_value: float | None, outputs: Any, expected: float | None) -> None:
    assert context(kl_value=kl_value, loss_outputs=outputs).kl_metric() == expected


def test_the_context_takes_its_arguments_in_the_published_order() -> None:
    weighting, stats, outputs = View(), View(), View()
    made = ControllerMetaContext(weighting, stats, outputs, 3, 0.5, "batch", 0.25, None)
    assert (made.weighting, made.weight_stats, made.loss_outputs, made.global_step) == (
        weighting,
        stats,
        outputs,
        3,
    )
    assert (made.lr_scale, made.prepared_batch, made.kl_value, made.backprop_fn) == (0.5, "batch", 0.25, None)
    short = ControllerMetaContext(weighting, stats, outputs, 3)
    assert (short.lr_scale, short.prepared_batch, short.kl_value, short.backprop_fn) == (1.0, None, None, None)


# --- the analytic objective ---


def test_the_base_objective_is_abstract() -> None:
    assert ControllerObjective.name == "base"
    with pytest.raises(NotImplementedError, match=r"ControllerObjective must define compute\(\)"):
        ControllerObjective().compute(context())


def test_analytic_gradients_are_the_two_errors() -> None:
    """H − H* = ¼: τ falls. KL − KL* = −⅛: β falls."""
    assert AnalyticControllerObjective.name == "analytic"
    assert AnalyticControllerObjective().compute(context()) == ControllerGradients(0.25, -0.125, source="analytic")


@pytest.mark.parametrize(
    ("target_entropy", "target_kl", "expected"),
    [
        (None, 0.25, (None, -0.125)),
        (1.5, 0.0, (0.25, None)),
        (1.5, -1.0, (0.25, None)),
        (None, 0.0, None),
    ],
)
def test_a_missing_target_gives_no_signal(
    target_entropy: float | None, target_kl: float, expected: tuple[float | None, float | None] | None
) -> None:
    weighting = View(tau_target_entropy=target_entropy, kl_target=target_kl)
    result = AnalyticControllerObjective().compute(context(weighting=weighting))
    assert (None if result is None else (result.tau_grad, result.beta_grad)) == expected


def test_what_was_not_measured_gives_no_signal() -> None:
    compute = AnalyticControllerObjective().compute
    assert compute(context(weight_stats=View())) == ControllerGradients(None, -0.125, source="analytic")
    assert compute(context(loss_outputs=None)) == ControllerGradients(0.25, None, source="analytic")
    assert compute(context(weight_stats=None, loss_outputs=None)) is None


# --- the truncated objective ---

UNROLLED = ControllerGradients(0.5, -0.5, source="truncated_backprop")


def test_the_callback_is_asked_for_k_steps_and_its_result_is_returned() -> None:
    assert TruncatedBackpropControllerObjective.name == "truncated_backprop"
    asked = []

    def backprop(steps: int) -> ControllerGradients:
        asked.append(steps)
        return UNROLLED

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TruncatedBackpropControllerObjective(3).compute(context(backprop_fn=backprop)) is UNROLLED
    assert asked == [3]
    assert TruncatedBackpropControllerObjective().steps == 1


UNUSABLE = {
    "no callback": None,
    "callback returns None": lambda steps: None,
    "callback returns nothing": lambda steps: ControllerGradients(source="truncated_backprop"),
    "callback returns NaN": lambda steps: ControllerGradients(math.nan, math.inf, source="truncated_backprop"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_without_a_usable_result_analytic_gradients_come_labelled_as_such(case: str) -> None:
    objective = TruncatedBackpropControllerObjective(2)
    with pytest.warns(RuntimeWarning, match=r"step 7: no usable truncated-backprop gradients.*fallback=None"):
        result = objective.compute(context(backprop_fn=UNUSABLE[case]))
    assert result == ControllerGradients(0.25, -0.125, source="analytic")


def test_fallbacks_are_counted_and_warned_of_once() -> None:
    objective = TruncatedBackpropControllerObjective(2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            objective.compute(context())
        objective.compute(context(backprop_fn=lambda steps: UNROLLED))
    assert objective.fallbacks == 3
    assert [warning.category for warning in caught] == [RuntimeWarning]


@pytest.mark.parametrize("case", UNUSABLE)
def test_fallback_none_means_no_update(case: str) -> None:
    objective = TruncatedBackpropControllerObjective(2, fallback=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert objective.compute(context(backprop_fn=UNUSABLE[case])) is None
    assert objective.fallbacks == 0


def test_a_fallback_without_targets_has_no_gradients_either() -> None:
    weighting = View(tau_target_entropy=None, kl_target=0.0)
    with pytest.warns(RuntimeWarning):
        assert TruncatedBackpropControllerObjective().compute(context(weighting=weighting)) is None


@pytest.mark.parametrize("steps", [0, -3])
def test_truncation_needs_a_step(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"truncation steps must be >= 1, got {steps}"):
        TruncatedBackpropControllerObjective(steps)


def test_an_unknown_fallback_is_an_error() -> None:
    with pytest.raises(ConfigError, match="fallback must be 'analytic' or None, got 'uniform'"):
        TruncatedBackpropControllerObjective(1, fallback="uniform")  # type: ignore[arg-type]


# --- building one ---


def weighting(**meta: Any) -> View:
    """A foreign trainer's settings: just attributes."""
    return View(controller_meta=View(**{"enabled": True, **meta}))


@pytest.mark.parametrize(
    "source", [View(), View(controller_meta=None), View(controller_meta=View()), weighting(enabled=False)]
)
def test_no_meta_or_not_enabled_is_no_objective(source: View) -> None:
    assert build_controller_objective(None, source) is None


@pytest.mark.parametrize("method", ["analytic", "analytic_grad", "potential", "Analytic"])
def test_analytic_methods(method: str) -> None:
    assert isinstance(build_controller_objective(None, weighting(method=method)), AnalyticControllerObjective)


@pytest.mark.parametrize("method", ["truncated", "truncated_backprop", "backprop", "first_order", "BACKPROP"])
def test_truncated_methods(method: str) -> None:
    built = build_controller_objective(None, weighting(method=method, truncation_steps=4, analytic_steps=2))
    assert isinstance(built, TruncatedBackpropControllerObjective)
    assert (built.steps, built.fallback) == (4, "analytic")


@pytest.mark.parametrize(
    ("meta", "steps"),
    [
        ({"truncation_steps": None, "analytic_steps": 3}, 3),
        ({"analytic_steps": 3}, 3),
        ({"truncation_steps": 2}, 2),
        ({}, 1),
    ],
)
def test_unset_truncation_steps_fall_back_to_analytic_steps(meta: dict[str, Any], steps: int) -> None:
    built = build_controller_objective(None, weighting(method="truncated", **meta))
    assert isinstance(built, TruncatedBackpropControllerObjective)
    assert built.steps == steps


@pytest.mark.parametrize("steps", [0, -1])
def test_truncation_steps_below_one_are_an_error(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"truncation steps must be >= 1, got {steps}"):
        build_controller_objective(None, weighting(method="truncated", truncation_steps=steps, analytic_steps=2))


def test_a_declared_fallback_is_kept() -> None:
    built = build_controller_objective(None, weighting(method="truncated", fallback=None))
    assert isinstance(built, TruncatedBackpropControllerObjective)
    assert built.fallback is None


def test_an_unknown_method_names_all_valid_ones() -> None:
    with pytest.raises(UnknownObjectiveError, match="'newtonian'") as caught:
        build_controller_objective(None, weighting(method="newtonian"))
    assert all(method in str(caught.value) for method in ANALYTIC_METHODS + TRUNCATED_METHODS)


def test_our_own_settings_satisfy_the_contract() -> None:
    """What comparison runs use: typed settings, fallback off."""
    own = load_config(overrides=["controller.objective={type: truncated_backprop, unroll: {steps: 2}}"])
    built = build_controller_objective(own.grpo, own.published_weighting)
    assert isinstance(built, TruncatedBackpropControllerObjective)
    assert (built.steps, built.fallback) == (2, None)
    fixed = load_config(overrides=["controller.objective=null"])
    assert build_controller_objective(None, fixed.published_weighting) is None
    targets = load_config(overrides=["controller.target_entropy=1.5", "controller.target_kl=0.25"]).published_weighting
    assert AnalyticControllerObjective().compute(context(weighting=targets)) == ControllerGradients(
        0.25, -0.125, source="analytic"
    )
