"""The one function that moves τ and β: signs, reasons, timing, bounds, and convergence on a fixed batch."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
import torch

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.measurement import batch_statistics, measure_groups
from maxent_ray.core.objectives import (
    Analytic,
    ControllerGradients,
    Joint,
    Paired,
    Sensitivity,
    TruncatedBackprop,
)
from maxent_ray.core.state import ControllerState, Decision, Reason
from maxent_ray.core.statistics import BatchStatistics, CoefficientBounds
from maxent_ray.core.weighting import dual_curvature, group_weights, listwise_q, weight_entropy, weight_kl
from maxent_ray.errors import InvalidReportError
from tests.core.rules import rules

TARGET_ENTROPY, TARGET_KL = 1.5, 0.05
Settings = Mapping[str, Any]
NONE: Settings = MappingProxyType({})


def controller(
    optimizer: str = "sgd",
    *,
    both: Settings = NONE,
    tau_rule: Settings = NONE,
    beta_rule: Settings = NONE,
    **changes: Any,
) -> Controller:
    """A controller of G = 8 with plain sgd on relative errors and no clip, unless told otherwise."""
    settings = {"group_size": 8, "target_entropy": TARGET_ENTROPY, "target_kl": TARGET_KL, "set_point_horizon": 0}
    settings |= changes
    usual = {"learning_rate": 0.5, "clip": None, **both}
    tau, beta = {**usual, **tau_rule}, {**usual, **beta_rule}
    return Controller(ControllerConfig(**rules(optimizer, tau=tau, beta=beta), **settings))


def measured(entropy: float = TARGET_ENTROPY, kl: float = TARGET_KL, tokens: int = 100) -> BatchStatistics:
    """A batch of 10 groups with this mean weight entropy and this mean policy KL."""
    return BatchStatistics(
        groups=10,
        completions=80,
        tokens=tokens,
        weight_entropy_sum=10 * entropy,
        policy_kl_sum=tokens * kl,
        entropy_tau_sum=10 * 0.8,
        kl_beta_sum=-10 * 0.4,
    )


def unrolled(entropy: float = TARGET_ENTROPY, kl: float = TARGET_KL, **changes: Any) -> ControllerGradients:
    """What workers send: sensitivities with the signs they have where τ raises H and β lowers KL."""
    values: dict[str, Any] = {
        "entropy_tau": 0.8,
        "entropy_beta": 0.3,
        "kl_tau": -0.01,
        "kl_beta": -0.02,
        "steps": 1,
        "tokens": 100,
        "tau": 0.3,
        "beta": 0.1,
        "version": 0,
        "share": 0.1,
    }
    sensitivity = Sensitivity(entropy=entropy, kl=kl, **{**values, **changes})
    return ControllerGradients(source="truncated_backprop", sensitivity=sensitivity)


def once(loop: Controller, entropy: float, kl: float, gradients: ControllerGradients | None = None) -> Decision:
    """The decision on a first batch."""
    return loop.step(loop.init(), measured(entropy, kl), gradients)[1]


# --- signs ---

OBJECTIVES: dict[str, dict[str, Any]] = {
    "analytic": {"objective": Analytic()},
    "paired": {"objective": TruncatedBackprop(form=Paired())},
    "joint": {"objective": TruncatedBackprop(form=Joint())},
}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "newton", "pi"])
@pytest.mark.parametrize("space", ["log", "linear"])
def test_too_much_entropy_lowers_tau_and_too_much_kl_raises_beta(objective: str, optimizer: str, space: str) -> None:
    """And the other way round. One error at a time, so that the joint form's cross terms vanish."""
    loop = controller(optimizer, **OBJECTIVES[objective], both={"space": space}, tau=1.0, beta=1.0)
    rng = random.Random(0)
    for _ in range(10):
        shift = rng.uniform(0.01, 0.3)
        for sign in (1, -1):
            entropy, kl = TARGET_ENTROPY + sign * shift, TARGET_KL * (1 + sign * shift)
            decision = once(loop, entropy, TARGET_KL, unrolled(entropy, TARGET_KL))
            assert (decision.tau - decision.previous_tau) * sign < 0
            assert decision.tau_grad is not None
            assert decision.tau_grad * sign > 0
            decision = once(loop, TARGET_ENTROPY, kl, unrolled(TARGET_ENTROPY, kl))
            assert (decision.beta - decision.previous_beta) * sign > 0
            assert decision.beta_grad is not None
            assert decision.beta_grad * sign > 0


@pytest.mark.parametrize("objective", ["analytic", "paired"])
def test_both_errors_at_once_move_each_its_own_coefficient(objective: str) -> None:
    loop = controller(**OBJECTIVES[objective])
    for entropy, kl in ((1.6, 0.08), (1.6, 0.02), (1.4, 0.08), (1.4, 0.02)):
        decision = once(loop, entropy, kl, unrolled(entropy, kl))
        assert math.copysign(1, decision.tau - 0.3) == math.copysign(1, TARGET_ENTROPY - entropy)
        assert math.copysign(1, decision.beta - 0.1) == math.copysign(1, kl - TARGET_KL)


def test_steps_by_hand() -> None:
    """Relative errors .2 and −.4 at rate .5: log τ falls by .1 and log β by .2; in linear space τ and β do."""
    entropy, kl = 1.2 * TARGET_ENTROPY, 0.6 * TARGET_KL
    for objective in ("analytic", "paired"):
        decision = once(controller(**OBJECTIVES[objective]), entropy, kl, unrolled(entropy, kl))
        assert decision.tau == pytest.approx(0.3 * math.exp(-0.1))
        assert decision.beta == pytest.approx(0.1 * math.exp(-0.2))
        loop = controller(**OBJECTIVES[objective], both={"space": "linear"}, tau=1.0, beta=1.0)
        decision = once(loop, entropy, kl, unrolled(entropy, kl))
        assert (decision.tau, decision.beta) == pytest.approx((0.9, 0.8))


def test_a_decision_shows_what_was_measured_and_wanted() -> None:
    decision = once(controller(), 1.8, 0.04)
    assert (decision.step, decision.version) == (0, 1)
    assert (decision.entropy, decision.kl) == pytest.approx((1.8, 0.04))
    assert (decision.target_entropy, decision.target_kl) == (TARGET_ENTROPY, TARGET_KL)
    assert (decision.tau_grad, decision.beta_grad) == pytest.approx((0.3, -0.01))  # nats, as published
    assert (decision.previous_tau, decision.previous_beta) == (0.3, 0.1)
    assert decision.source == "analytic"
    assert once(controller(**OBJECTIVES["joint"]), 1.8, 0.04, unrolled()).source == "truncated_backprop"


def test_newton_takes_the_damped_step_of_the_analytic_error() -> None:
    """Linear space: Δτ = −(H − H*)/(dH/dτ + .01 H*) and Δβ = (KL − KL*)/(−dKL/dβ + .01 KL*)."""
    loop = controller("newton", both={"space": "linear", "learning_rate": 1.0}, tau=1.0, beta=1.0)
    decision = once(loop, 1.7, 0.06)
    assert decision.tau == pytest.approx(1.0 - 0.2 / (0.8 + 0.01 * TARGET_ENTROPY))
    assert decision.beta == pytest.approx(1.0 + 0.01 / (0.4 + 0.01 * TARGET_KL))


# --- reasons ---


def reason(loop: Controller, *steps: tuple[BatchStatistics | None, ControllerGradients | None]) -> Reason:
    """Reason of the last of some steps."""
    state = loop.init()
    for statistics, gradients in steps:
        state, decision = loop.step(state, statistics, gradients)
    assert len(steps) == state.version
    return decision.reason


OFF = (measured(1.7, 0.07), None)


def reaching(low: float, high: float, entropy: float = 1.7) -> BatchStatistics:
    """A batch that τ can give these weight entropies."""
    ends = {"entropy_at_tau_min_sum": 10 * low, "entropy_at_tau_max_sum": 10 * high}
    return replace(measured(entropy, 0.07), ranged_groups=10, **ends)


@pytest.mark.parametrize(
    ("changes", "steps", "expected"),
    [
        ({}, [OFF], Reason.UPDATED),
        ({"tau_rule": {"clip": 0.1}}, [OFF], Reason.CLIPPED),
        ({"beta_rule": {"clip": 0.1}}, [OFF], Reason.CLIPPED),
        ({"tau_min": 0.299}, [OFF], Reason.CLIPPED),
        ({"beta_max": 0.101}, [OFF], Reason.CLIPPED),
        ({"both": {"dead_band": 0.5}}, [OFF], Reason.DEAD_BAND),
        ({"both": {"dead_band": 0.2}}, [OFF], Reason.UPDATED),  # only τ's error lies inside
        ({"both": {"dead_band": 0.2}, "target_kl": 0.0, "beta": 0.0}, [OFF], Reason.DEAD_BAND),  # β has no say
        ({"warmup_steps": 2}, [OFF, OFF], Reason.WARM_UP),
        ({"warmup_steps": 2}, [OFF, OFF, OFF], Reason.UPDATED),
        ({"update_interval": 3}, [OFF, OFF], Reason.INTERVAL),
        ({"update_interval": 3}, [OFF, OFF, OFF], Reason.UPDATED),
        ({"warmup_steps": 2, "update_interval": 4}, [OFF, OFF, OFF], Reason.INTERVAL),
        ({}, [(BatchStatistics(), None)], Reason.NO_GRADIENT),
        ({"target_entropy": None, "target_kl": 0.0}, [OFF], Reason.NO_GRADIENT),
        ({"objective": None}, [OFF], Reason.NO_GRADIENT),
        (OBJECTIVES["paired"], [OFF], Reason.NO_GRADIENT),
        (OBJECTIVES["paired"], [(OFF[0], unrolled(steps=2))], Reason.NO_GRADIENT),
        (OBJECTIVES["paired"], [(OFF[0], unrolled())], Reason.UPDATED),
        ({}, [(replace(OFF[0], policy_kl_sum=math.nan), None)], Reason.NON_FINITE),
        ({}, [(replace(OFF[0], tokens=-1), None)], Reason.NON_FINITE),
        ({}, [(OFF[0], ControllerGradients(tau_grad=math.nan))], Reason.NON_FINITE),
        (OBJECTIVES["paired"], [(OFF[0], unrolled(kl_tau=math.inf))], Reason.NON_FINITE),
        ({}, [(None, None)], Reason.NON_FINITE),
        ({"tau_min": 0.299}, [(reaching(1.6, 1.9), None)], Reason.INFEASIBLE_TARGET),
        ({"tau_min": 0.299}, [(reaching(1.4, 1.9), None)], Reason.CLIPPED),
        ({"tau_min": 0.2}, [(reaching(1.6, 1.9), None)], Reason.UPDATED),  # on its way there
    ],
)
def test_every_decision_has_its_reason(
    changes: dict[str, Any], steps: list[tuple[BatchStatistics | None, ControllerGradients | None]], expected: Reason
) -> None:
    assert reason(controller(**changes), *steps) is expected


def test_all_reasons_are_given() -> None:
    cases = test_every_decision_has_its_reason.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {expected for *_, expected in cases} == set(Reason)


def test_events_tell_what_the_rules_did() -> None:
    decision = once(controller(tau_rule={"clip": 0.1}, beta_max=0.101), 1.7, 0.07)
    assert decision.events == ("tau.clipped", "beta.projected_high")
    assert once(controller(both={"dead_band": 0.2}), 1.7, 0.07).events == ("tau.dead_band",)
    assert once(controller(), 1.7, 0.07).events == ()


def test_a_dead_band_holds_what_lies_inside_and_moves_what_lies_outside() -> None:
    decision = once(controller(both={"dead_band": 0.2}), 1.7, 0.07)
    assert decision.tau == 0.3
    assert decision.beta > 0.1


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "newton", "pi"])
def test_inside_the_dead_band_no_memory_of_a_rule_moves_anything(optimizer: str) -> None:
    """A proportional part would take back its last step, Adam would coast on; then the loop goes on as it was."""
    gain = {"proportional_gain": 2.0} if optimizer == "pi" else {}
    loop = controller(optimizer, both={"dead_band": 0.1, "ema_decay": 0.0}, beta_rule=gain)
    outside, _ = loop.step(loop.init(), measured(1.8, 0.08))
    inside = outside
    for _ in range(3):
        inside, decision = loop.step(inside, measured(1.51, 0.0501))
        assert decision.reason is Reason.DEAD_BAND
        assert (inside.tau, inside.beta) == (outside.tau, outside.beta)
        assert decision.events == ("tau.dead_band", "beta.dead_band")
    after, straight = (loop.step(state, measured(1.8, 0.08))[0] for state in (inside, outside))
    assert (after.tau, after.beta) == (straight.tau, straight.beta)


def test_the_share_of_tied_groups_is_reported() -> None:
    loop = controller()
    _, decision = loop.step(loop.init(), replace(measured(), tied_groups=4))
    assert decision.tied_share == 0.4


# --- timing ---


def test_the_window_of_an_interval_is_the_mean_of_all_its_steps_by_their_counts() -> None:
    """Three steps with different numbers of tokens: neither the last one, nor the mean of their means."""
    loop = controller(update_interval=3)
    batches = [measured(1.8, 0.01, tokens=50), measured(1.7, 0.02, tokens=100), measured(1.3, 0.1, tokens=350)]
    state = loop.init()
    for batch in batches:
        state, decision = loop.step(state, batch)
    entropy, kl = (1.8 + 1.7 + 1.3) / 3, (0.01 * 50 + 0.02 * 100 + 0.1 * 350) / 500
    assert (decision.entropy, decision.kl) == pytest.approx((entropy, kl))
    assert state.tau == pytest.approx(0.3 * math.exp(-0.5 * (entropy / TARGET_ENTROPY - 1)))
    assert state.beta == pytest.approx(0.1 * math.exp(0.5 * (kl / TARGET_KL - 1)))
    assert state.window == BatchStatistics()


def test_the_next_window_starts_empty() -> None:
    loop = controller(update_interval=2)
    state = loop.init()
    for entropy in (1.9, 1.9, 1.4, 1.2):
        state, decision = loop.step(state, measured(entropy))
    assert decision.entropy == pytest.approx(1.3)


def test_between_updates_nothing_moves_but_step_version_and_set_points() -> None:
    loop = controller("adam", update_interval=3, both={"ema_decay": 0.5})
    start = loop.init()
    state, _ = loop.step(start, *OFF)
    same = {"step", "version", "window", "entropy_set_point", "kl_set_point"}
    assert {k: v for k, v in state.to_dict().items() if k not in same} == {
        k: v for k, v in start.to_dict().items() if k not in same
    }
    assert (state.step, state.version) == (0, 1)


def test_what_was_measured_in_the_warm_up_is_forgotten() -> None:
    loop = controller(warmup_steps=3)
    state = loop.init()
    for entropy in (0.1, 0.1, 0.1, 1.7):
        state, decision = loop.step(state, measured(entropy))
    assert decision.reason is Reason.UPDATED
    assert decision.entropy == pytest.approx(1.7)


def test_the_target_is_annealed_along_the_steps() -> None:
    loop = controller(target_entropy=2.0, target_entropy_final=1.0, target_entropy_horizon=4)
    state, targets = loop.init(), []
    for _ in range(6):
        state, decision = loop.step(state, measured(1.6))
        targets.append((decision.target_entropy, decision.tau < decision.previous_tau))
    assert targets == [(2.0, False), (1.75, False), (1.5, True), (1.25, True), (1.0, True), (1.0, True)]


# --- signals of a general policy ---


def timesteps(entropy: float, kl: float = 0.01, count: int = 100) -> BatchStatistics:
    """A batch of a policy without groups."""
    return BatchStatistics(tokens=count, policy_entropy_sum=count * entropy, policy_kl_sum=count * kl)


POLICY: Settings = {"group_size": None, "entropy_signal": "policy_entropy", "target_kl": 0.0}


@pytest.mark.parametrize("target", [-1.4, 0.0, 0.5])
def test_a_target_of_any_sign_is_approached_from_both_sides(target: float) -> None:
    loop = controller(target_entropy=target, **POLICY)
    for entropy in (target - 0.3, target + 0.3):
        state, decision = loop.step(loop.init(), timesteps(entropy))
        assert (state.tau > 0.01) is (entropy < target)
        scale = target if target > 0 else 1.0
        expected = 0.01 * math.exp(-0.5 * (entropy - target) / scale)
        assert state.tau == pytest.approx(expected) and decision.entropy_scale == scale


def test_a_scale_that_is_set_divides_the_error() -> None:
    loop = controller(target_entropy=-1.0, entropy_scale=0.1, **POLICY)
    state, _ = loop.step(loop.init(), timesteps(-1.02))
    assert state.tau == pytest.approx(0.01 * math.exp(0.5 * 0.2))


BOTH: Settings = {**POLICY, "target_kl": TARGET_KL}


@pytest.mark.parametrize(
    ("settings", "lacking", "message"),
    [
        ({}, timesteps(0.5), "weight_entropy_sum is None, but tau .* with groups, or set entropy_signal to"),
        ({}, replace(measured(), policy_kl_sum=None), "policy_kl_sum is None, but beta .* set kl_signal to weight_kl"),
        (BOTH, replace(timesteps(0.5), policy_kl_sum=None), "policy_kl_sum is None, but beta is to"),
        (BOTH, replace(timesteps(0.5), policy_entropy_sum=None), "policy_entropy_sum is None, but tau is"),
    ],
    ids=["weight entropy", "policy KL", "KL beside the entropy", "entropy beside KL"],
)
def test_a_signal_that_a_report_lacks_is_an_error_at_once(
    settings: Settings, lacking: BatchStatistics, message: str
) -> None:
    """Also where another signal is counted in the same tokens."""
    loop = controller(**settings)
    with pytest.raises(InvalidReportError, match=f"step 0: statistics.{message}"):
        loop.step(loop.init(), lacking)
    state, decision = loop.step(loop.init(), BatchStatistics())  # nothing was measured: nothing moves
    assert (state.tau, state.beta, decision.reason) == (loop.init().tau, 0.1, Reason.NO_GRADIENT)
    assert decision.events == ()


def test_a_signal_without_a_target_may_be_missing() -> None:
    loop = controller(target_kl=0.0)
    _, decision = loop.step(loop.init(), replace(measured(1.8), policy_kl_sum=None))
    assert (decision.reason, decision.kl, decision.events) == (Reason.UPDATED, None, ())


def test_a_batch_without_a_group_moves_beta_alone_and_says_so() -> None:
    """Its groups may all lack a reward; the next batch goes on with τ."""
    loop = controller()
    no_group = BatchStatistics(tokens=100, policy_kl_sum=100 * 0.07, weight_entropy_sum=0.0)
    state, decision = loop.step(loop.init(), no_group)
    expected, _ = loop.step(loop.init(), measured(kl=0.07))
    assert (state.tau, state.beta) == (0.3, expected.beta) and state.tau_rule == loop.init().tau_rule
    assert (decision.reason, decision.events) == (Reason.UPDATED, ("tau.not_measured",))
    assert decision.entropy is None
    state, decision = loop.step(state, measured(1.8))
    assert state.tau < 0.3 and decision.events == ()
    state, decision = loop.step(state, BatchStatistics(completions=8, policy_kl_sum=0.0, weight_entropy_sum=0.0))
    assert (decision.reason, decision.events) == (Reason.NO_GRADIENT, ("tau.not_measured", "beta.not_measured"))


# --- bounds ---


@pytest.mark.parametrize("signal", ["weight_entropy", "policy_entropy"])
def test_at_a_bound_the_batch_says_whether_the_target_is_infeasible(signal: str) -> None:
    """Exact for weights, whose reach a batch shows; of a policy's own entropy nothing is known. And it recovers."""
    loop = controller(tau=0.3, tau_max=0.35, entropy_signal=signal, entropy_response="fast")
    state, reasons = loop.init(), []
    for entropy in [1.2] * 4 + [1.9]:
        batch = replace(reaching(0.9, 1.3, entropy), policy_entropy_sum=100 * entropy)
        state, decision = loop.step(state, batch)
        assert 1e-3 <= state.tau <= 0.35
        reasons.append(decision.reason)
    at_bound = Reason.INFEASIBLE_TARGET if signal == "weight_entropy" else Reason.CLIPPED
    assert reasons == [Reason.UPDATED, *[at_bound] * 3, Reason.UPDATED]
    assert state.tau < 0.35


def test_a_weight_kl_that_no_beta_gives_is_infeasible() -> None:
    loop = controller(kl_signal="weight_kl", beta_max=0.101)
    ends = {"ranged_groups": 10, "kl_at_beta_min_sum": 10 * 0.2, "kl_at_beta_max_sum": 10 * 0.06}
    batch = replace(measured(), weight_kl_sum=10 * 0.07, **ends)
    _, decision = loop.step(loop.init(), batch)
    assert decision.reason is Reason.INFEASIBLE_TARGET
    assert decision.kl_reach == pytest.approx((0.06, 0.2))
    _, decision = loop.step(loop.init(), replace(batch, kl_at_beta_max_sum=10 * 0.04))
    assert decision.reason is Reason.CLIPPED


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "newton", "pi"])
@pytest.mark.parametrize("space", ["log", "linear"])
def test_no_error_however_large_leaves_the_bounds(optimizer: str, space: str) -> None:
    loop = controller(
        optimizer,
        both={"space": space, "learning_rate": 1e3},
        tau_min=0.1,
        tau_max=0.5,
        beta_min=0.05,
        beta_max=0.2,
    )
    rng, state = random.Random(0), loop.init()
    for _ in range(50):
        state, _ = loop.step(state, measured(rng.uniform(0, math.log(8)), 10 ** rng.uniform(-6, 6)))
        assert 0.1 <= state.tau <= 0.5
        assert 0.05 <= state.beta <= 0.2


# --- what must not move ---


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    ("statistics", "gradients"),
    [
        (replace(OFF[0], weight_entropy_sum=math.nan), unrolled()),
        (replace(OFF[0], policy_kl_sum=math.inf), unrolled()),
        (replace(OFF[0], entropy_tau_sum=-math.inf), unrolled()),
        (replace(OFF[0], groups=-1), unrolled()),
        (OFF[0], unrolled(entropy=math.nan)),
        (OFF[0], unrolled(kl_beta=math.inf)),
        (OFF[0], ControllerGradients(tau_grad=math.nan, beta_grad=0.1)),
        (OFF[0], ControllerGradients(tau_grad=0.1, beta_grad=-math.inf)),
    ],
)
def test_bad_numbers_leave_coefficients_and_averages_unchanged(
    objective: str, statistics: BatchStatistics, gradients: ControllerGradients
) -> None:
    loop = controller("adam", **OBJECTIVES[objective], both={"ema_decay": 0.5})
    state, _ = loop.step(loop.init(), OFF[0], unrolled(1.7, 0.07))
    after, decision = loop.step(state, statistics, gradients)
    assert decision.reason is Reason.NON_FINITE
    assert (after.tau, after.beta) == (state.tau, state.beta) == (decision.tau, decision.beta)
    assert (after.tau_rule, after.beta_rule) == (state.tau_rule, state.beta_rule)
    assert after.objective == state.objective
    assert after.window == state.window
    assert (after.step, after.version) == (state.step + 1, state.version + 1)


def test_bad_statistics_inside_an_interval_spare_the_rest_of_the_window() -> None:
    loop = controller(update_interval=3)
    state = loop.init()
    for batch in (measured(1.8), replace(measured(9.0), policy_kl_sum=math.nan), measured(1.6)):
        state, decision = loop.step(state, batch)
    assert decision.reason is Reason.UPDATED
    assert decision.entropy == pytest.approx(1.7)


@pytest.mark.parametrize("gradients", [None, unrolled(1.0, 1.0), ControllerGradients(5.0, 5.0)])
def test_a_fixed_controller_never_moves(gradients: ControllerGradients | None) -> None:
    loop = controller(objective=None, tau=500.0, beta=0.0)
    state = loop.init()
    for _ in range(5):
        state, decision = loop.step(state, measured(0.1, 3.0), gradients)
        assert (state.tau, state.beta) == (500.0, 0.0)
        assert decision.reason is Reason.NO_GRADIENT


@pytest.mark.parametrize(
    ("objective", "gradients"),
    [
        ("analytic", None),
        ("paired", unrolled(1.8, 0.09)),
        ("joint", unrolled(1.8, 0.09)),
        ("paired", ControllerGradients(0.4, 0.4, source="truncated_backprop")),
    ],
)
def test_a_coefficient_without_a_target_stays(objective: str, gradients: ControllerGradients | None) -> None:
    """Also where the objective forms a signal for it: the joint form always has both."""
    settings = OBJECTIVES[objective]
    only_tau = controller(**settings, target_kl=0.0, beta=0.0)
    decision = once(only_tau, 1.8, 0.09, gradients)
    assert (decision.beta, decision.beta_grad) == (0.0, None)
    assert decision.tau < 0.3
    only_beta = controller(**settings, target_entropy=None)
    decision = once(only_beta, 1.8, 0.09, gradients)
    assert (decision.tau, decision.tau_grad) == (0.3, None)
    assert decision.beta > 0.1


def test_a_step_is_pure() -> None:
    loop = controller("adam", **OBJECTIVES["paired"], both={"ema_decay": 0.5})
    state, _ = loop.step(loop.init(), OFF[0], unrolled(1.7, 0.07))
    before = json.dumps(state.to_dict())
    first = loop.step(state, OFF[0], unrolled(1.8, 0.03))
    loop.step(state, measured(0.5, 9.0), unrolled(0.5, 9.0))
    assert loop.step(state, OFF[0], unrolled(1.8, 0.03)) == first
    assert json.dumps(state.to_dict()) == before


# --- fallback and direct gradients ---


def test_truncated_backprop_without_gradients_and_with_a_fallback_moves_as_analytic_and_says_so() -> None:
    loop = controller(objective=TruncatedBackprop(fallback="analytic"))
    with pytest.warns(RuntimeWarning, match="no usable truncated-backprop gradients"):
        decision = once(loop, 1.7, 0.07)
    expected = once(controller(), 1.7, 0.07)
    assert decision.source == "analytic"
    assert "fallback" in decision.events
    assert (decision.tau, decision.beta) == (expected.tau, expected.beta)


def test_gradients_formed_elsewhere_are_used_as_they_are() -> None:
    gradients = ControllerGradients(0.2, 0.4, source="truncated_backprop")
    decision = once(controller(**OBJECTIVES["paired"]), 1.0, 1.0, gradients)
    assert decision.tau == pytest.approx(0.3 * math.exp(-0.1))
    assert decision.beta == pytest.approx(0.1 * math.exp(0.2))


def test_analytic_ignores_gradients_that_workers_send() -> None:
    assert once(controller(), 1.7, 0.07, unrolled(0.1, 0.9)) == once(controller(), 1.7, 0.07)


# --- resuming and adopting ---


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "newton", "pi"])
@pytest.mark.parametrize("interval", [1, 3])
def test_a_state_that_went_through_json_continues_identically(objective: str, optimizer: str, interval: int) -> None:
    """Cut at step 7, in the middle of an interval of 3."""
    loop = controller(
        optimizer, **OBJECTIVES[objective], both={"ema_decay": 0.7, "dead_band": 0.01}, update_interval=interval
    )
    rng = random.Random(0)
    rounds = []
    for _ in range(20):
        entropy, kl = rng.uniform(1.0, 2.0), rng.uniform(0.01, 0.1)
        gradients = unrolled(entropy, kl, entropy_tau=rng.uniform(-0.1, 1), kl_beta=rng.gauss(-0.02, 0.02))
        rounds.append((measured(entropy, kl), gradients))

    def run(state: ControllerState, part: slice) -> tuple[ControllerState, list[Decision]]:
        decisions = []
        for statistics, gradients in rounds[part]:
            state, decision = loop.step(state, statistics, gradients)
            decisions.append(decision)
        return state, decisions

    uninterrupted, decisions = run(loop.init(), slice(0, 20))
    half, first = run(loop.init(), slice(0, 7))
    resumed = ControllerState.from_dict(json.loads(json.dumps(half.to_dict(), allow_nan=False)))
    final, second = run(loop.adopt(resumed), slice(7, 20))
    assert final == uninterrupted
    assert first + second == decisions
    assert len({decision.tau for decision in decisions}) > 3


def test_adopting_brings_coefficients_inside_the_bounds() -> None:
    state = replace(controller().init(), tau=50.0, beta=1e-4, step=10, version=11)
    adopted = controller(tau_max=2.0, beta_min=0.01).adopt(state)
    assert (adopted.tau, adopted.beta) == (2.0, 0.01)
    assert (adopted.step, adopted.version) == (10, 11)
    inside = replace(state, tau=0.7, beta=0.3)
    assert controller().adopt(inside) == inside


def test_adopting_keeps_moments_of_the_same_rule_and_starts_others_anew() -> None:
    adam = controller("adam")
    state, _ = adam.step(adam.init(), *OFF)
    assert adam.adopt(state) == state
    other_rate = controller("adam", tau_rule={"learning_rate": 0.1})
    assert other_rate.adopt(state).tau_rule == state.tau_rule
    sgd = controller("sgd")
    assert sgd.adopt(state).tau_rule == sgd.init().tau_rule
    assert sgd.adopt(state).beta_rule == sgd.init().beta_rule
    sgd.step(sgd.adopt(state), *OFF)  # and can be stepped
    smoothed = controller("adam", both={"ema_decay": 0.5})
    assert smoothed.adopt(state).tau_rule == smoothed.init().tau_rule


def test_a_coefficient_that_is_held_fixed_is_a_setting() -> None:
    """A plain-GRPO run that takes over a controlled one's state keeps its own β = 0."""
    state = replace(controller().init(), tau=0.7, beta=0.9)
    fixed = controller(target_kl=0.0, beta=0.0).adopt(state)
    assert (fixed.tau, fixed.beta) == (0.7, 0.0)
    assert controller(objective=None, tau=0.25, beta=0.125).adopt(state).tau == 0.25


# --- the closed loop ---


class Plant:
    """A fixed batch: its weights have the entropy and the KL that (τ, β) give them, and nothing else changes."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.rewards = torch.randint(0, 2, (12, 8), generator=generator).double()
        self.log_q = listwise_q(self.rewards, 1.0, 1e-6).log()
        self.rho = torch.randn(12, 8, generator=generator, dtype=torch.float64)

    def targets(self, tau: float, beta: float) -> dict[str, float]:
        """What is met at (τ, β)."""
        weights = group_weights(self.log_q, self.rho, tau, beta)
        return {
            "target_entropy": float(weight_entropy(weights).mean()),
            "target_kl": float(weight_kl(weights, self.rho).mean()),
        }

    def statistics(self, tau: float, beta: float, bounds: CoefficientBounds) -> BatchStatistics:
        tokens = torch.zeros(96, 1, dtype=torch.float64)
        mask = torch.ones(96, 1, dtype=torch.bool)
        groups = measure_groups(self.rewards, self.log_q, self.rho, tau, beta)
        return batch_statistics(groups, tokens, tokens, mask, bounds)

    def gradients(self, tau: float, beta: float) -> ControllerGradients:
        """The exact sensitivities of H(w) and KL(w‖p)."""
        curvature = dual_curvature(self.log_q, self.rho.log_softmax(-1), tau, beta)
        by_tau, crossed, by_beta = (float(part.mean()) for part in curvature)
        measured = self.targets(tau, beta)
        sensitivity = Sensitivity(
            measured["target_entropy"],
            measured["target_kl"],
            *(by_tau, crossed, -crossed, -by_beta),
            steps=1,
            tokens=96,
            tau=tau,
            beta=beta,
            version=0,
            share=1.0,
        )
        return ControllerGradients(source="truncated_backprop", sensitivity=sensitivity)

    def run(self, loop: Controller, steps: int, reasons: list[Reason] | None = None) -> ControllerState:
        state = loop.init()
        for _ in range(steps):
            gradients = self.gradients(state.tau, state.beta) if loop.config.unroll is not None else None
            measured = self.statistics(state.tau, state.beta, loop.config.coefficient_bounds)
            state, decision = loop.step(state, measured, gradients)
            if reasons is not None:
                reasons.append(decision.reason)
        return state


@pytest.mark.parametrize("objective", ["analytic", "paired"])
@pytest.mark.parametrize("tau_factor", [0.1, 10.0])
@pytest.mark.parametrize("beta_factor", [0.1, 1.0, 10.0])
def test_the_loop_meets_both_targets_from_ten_times_too_low_and_too_high(
    objective: str, tau_factor: float, beta_factor: float
) -> None:
    """Default gains, 150 steps: H and KL within 1 % of targets that (τ, β) = (.6, .3) meets."""
    plant = Plant()
    tau, beta = 0.6, 0.3
    targets = plant.targets(tau, beta)
    loop = Controller(
        ControllerConfig(
            group_size=8,
            kl_signal="weight_kl",
            tau=tau * tau_factor,
            beta=beta * beta_factor,
            **OBJECTIVES[objective],
            **targets,
        )
    )
    start = plant.targets(loop.config.initial("tau"), loop.config.beta)
    assert abs(start["target_entropy"] / targets["target_entropy"] - 1) > 0.05
    reasons: list[Reason] = []
    state = plant.run(loop, 150, reasons)
    reached = plant.targets(state.tau, state.beta)
    assert reached["target_entropy"] == pytest.approx(targets["target_entropy"], rel=0.01)
    assert reached["target_kl"] == pytest.approx(targets["target_kl"], rel=0.01)
    assert Reason.INFEASIBLE_TARGET not in reasons


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "newton", "pi"])
def test_entropy_alone_is_controlled_by_every_optimizer(optimizer: str) -> None:
    plant = Plant(seed=1)
    rates = {"sgd": 1.0, "adam": 0.1, "newton": 0.5, "pi": 1.0}
    loop = controller(
        optimizer,
        tau=5.0,
        tau_rule={"learning_rate": rates[optimizer]},
        target_entropy=plant.targets(0.5, 0.1)["target_entropy"],
        target_kl=0.0,
    )
    state = plant.run(loop, 200)
    assert state.beta == 0.1
    assert state.tau == pytest.approx(0.5, rel=0.02)


def test_an_unreachable_target_ends_at_the_bound_and_is_reported() -> None:
    """Weights with β = 0 cannot have less entropy than the ties among the winners leave them."""
    plant = Plant()
    least = plant.targets(1e-3, 0.0)["target_entropy"]
    assert least > 0.5
    loop = controller(target_entropy=0.5 * least, target_kl=0.0, beta=0.0, tau_rule={"learning_rate": 2.0})
    reasons: list[Reason] = []
    state = plant.run(loop, 60, reasons)
    assert state.tau == loop.config.bounds("tau")[0]
    assert reasons[-10:] == [Reason.INFEASIBLE_TARGET] * 10
