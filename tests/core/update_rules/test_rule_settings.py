"""Rules of other systems chosen by settings, for τ and for β: golden values, mirrored where the sign turns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from maxent_ray.config import load_config
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.objectives import CustomObjective, ObjectiveSettings, TruncatedBackprop
from maxent_ray.core.state import ControllerState, Reason
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import (
    AdaptiveKL,
    CustomRule,
    EntropyStep,
    RuleSettings,
    SacAlpha,
    Signal,
    ThresholdKL,
    UpdateRule,
)
from maxent_ray.core.update_rules.loop import Loop
from maxent_ray.core.update_rules.settings import build_rule
from maxent_ray.errors import ConfigError, InvalidReportError

OTHERS: list[RuleSettings] = [AdaptiveKL(), ThresholdKL(), EntropyStep(), SacAlpha()]
TARGETS = {"tau": ("weight_entropy", 1.5), "beta": ("policy_kl", 0.05)}


def moved(rule: RuleSettings, name: str, ratio: float, value: float = 0.2, **bounds: float) -> float:
    """The coefficient after one batch that measured ``ratio`` times the target."""
    entropy, kl = (1.5 * ratio, 0.05) if name == "tau" else (1.5, 0.05 * ratio)
    settings: dict[str, Any] = {name: value, f"{name}_rule": rule, **bounds}
    controller = Controller(ControllerConfig(group_size=8, target_entropy=1.5, target_kl=0.05, **settings))
    measured = BatchStatistics(groups=1, weight_entropy_sum=entropy, tokens=1, policy_kl_sum=kl)
    state, _ = controller.step(controller.init(), measured)
    return float(getattr(state, name))


@pytest.mark.parametrize("rule", OTHERS, ids=lambda rule: rule.type)
@pytest.mark.parametrize("name", ["tau", "beta"])
def test_each_moves_each_coefficient_the_right_way(rule: RuleSettings, name: str) -> None:
    """Too much entropy lowers τ, too much KL raises β."""
    up, down = moved(rule, name, 0.3), moved(rule, name, 1.35 if name == "tau" else 3.0)
    if name == "beta":
        up, down = down, up
    assert up > 0.2
    assert down < 0.2 or (rule.type == "threshold_kl" and name == "tau")  # H > 2 H* is beyond log G


@pytest.mark.parametrize(
    ("rule", "ratio", "beta"),
    [
        (AdaptiveKL(horizon=10), 2.0, 0.204),  # .2·(1 + .2·1/10), as of Ziegler: update(KL = 2·KL*, n/horizon = .1)
        (AdaptiveKL(horizon=10), 0.5, 0.196),
        (ThresholdKL(), 2.01, 0.3),
        (ThresholdKL(), 0.49, 0.1),
        (ThresholdKL(), 1.0, 0.2),
        (EntropyStep(delta=0.005), 1.1, 0.205),
        (EntropyStep(delta=0.005), 0.9, 0.195),
    ],
)
def test_golden_values_for_beta(rule: RuleSettings, ratio: float, beta: float) -> None:
    assert moved(rule, "beta", ratio) == pytest.approx(beta)


@pytest.mark.parametrize(
    ("rule", "ratio", "tau"),
    [
        (AdaptiveKL(horizon=10), 0.5, 0.204),  # H half of H*: the error is −.5, cut to −.2, and τ rises
        (ThresholdKL(), 0.49, 0.3),
        (ThresholdKL(), 1.0, 0.2),
        (EntropyStep(delta=0.005), 0.9, 0.205),
        (EntropyStep(delta=0.005), 1.1, 0.195),
    ],
)
def test_golden_values_for_tau(rule: RuleSettings, ratio: float, tau: float) -> None:
    assert moved(rule, "tau", ratio) == pytest.approx(tau)


def test_an_entropy_step_ends_at_the_bounds() -> None:
    assert moved(EntropyStep(delta=0.05), "tau", 0.9, value=0.99, tau_max=1.0) == 1.0
    assert moved(EntropyStep(delta=0.05), "beta", 0.9, value=0.02, beta_min=0.01) == 0.01


def test_sac_steps_are_adams_on_the_logarithm_and_its_moments_are_state() -> None:
    """The first step of Adam is the learning rate, whatever the error; saved and loaded, the next one is the same."""
    import math

    rule = SacAlpha(learning_rate=0.1)
    assert moved(rule, "tau", 0.9) == pytest.approx(0.2 * math.exp(0.1))
    assert moved(rule, "beta", 1.5) == pytest.approx(0.2 * math.exp(0.1))
    controller = Controller(ControllerConfig(target_kl=0.05, beta_rule=rule))
    batch = BatchStatistics(tokens=1, policy_kl_sum=0.07)
    state, _ = controller.step(controller.init(), batch)
    assert state.beta_rule["step"]["updates"] == 1.0
    loaded = controller.adopt(ControllerState.from_dict(state.to_dict()))
    assert controller.step(loaded, batch) == controller.step(state, batch)


def test_steps_between_updates_count_in_zieglers_rule() -> None:
    controller = Controller(
        ControllerConfig(target_kl=0.1, beta=0.2, beta_rule=AdaptiveKL(horizon=100), update_interval=10)
    )
    state = controller.init()
    for _ in range(10):
        state, decision = controller.step(state, BatchStatistics(tokens=1, policy_kl_sum=0.2))
    assert state.beta == pytest.approx(0.204)  # peers' golden value: β = .2, KL* = .1, horizon 100, KL = .2, n = 10
    assert decision.reason is Reason.CLIPPED  # the relative error of 1 was cut to .2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("beta_rule={type: adaptive_kl, horizon: 0}", "controller.beta_rule.horizon is 0.0, must be a positive"),
        ("tau_rule={type: threshold_kl, high: 0.1}", r"controller.tau_rule.low is 0.5, must be in \[0, high\]"),
        ("tau_rule={type: entropy_step, delta: -1}", "controller.tau_rule.delta is -1.0, must be a positive finite"),
        ("tau_rule={type: sac_alpha, learning_rate: 0}", "controller.tau_rule.learning_rate is 0.0, must be"),
        ("tau_rule={type: sac_alpha, clip: 1}", "unknown key 'controller.tau_rule.clip'"),
    ],
)
def test_settings_out_of_range_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        load_config(overrides=[f"controller.{override}"])


def test_a_gain_that_could_turn_the_sign_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"beta_rule.horizon is 2.0; it must be > error_clip · update_interval = 2"):
        ControllerConfig(target_kl=0.1, beta_rule=AdaptiveKL(horizon=2.0, error_clip=0.2), update_interval=10)
    with pytest.raises(ConfigError, match=r"beta_rule.type is sac_alpha; it must be another rule while beta_min = 0"):
        ControllerConfig(target_kl=0.1, beta_rule=SacAlpha(), beta_min=0.0)


@pytest.mark.parametrize("rule", OTHERS, ids=lambda rule: rule.type)
def test_a_rule_needs_what_is_measured_not_a_gradient(rule: RuleSettings) -> None:
    chained = build_rule(rule, Loop("beta", "policy_kl", 1e-4, 100.0))
    with pytest.raises(ValueError, match=f"{rule.type}: measured is None"):
        chained.update(Signal(gradient=0.1, value=0.1), chained.init(0.1))


@pytest.mark.parametrize("rule", OTHERS, ids=lambda rule: rule.type)
@pytest.mark.parametrize("objective", [TruncatedBackprop(), CustomObjective(import_path="a:b", name="mine")])
def test_a_rule_that_would_ignore_the_objective_is_refused(rule: RuleSettings, objective: ObjectiveSettings) -> None:
    """A run is what its label says: such a rule would move beta by KL alone, whatever the unroll finds."""
    with pytest.raises(ConfigError, match=rf"beta_rule.type is {rule.type}; .*ignore the signals of {objective.label}"):
        ControllerConfig(target_kl=0.05, objective=objective, beta_rule=rule)
    ControllerConfig(group_size=8, target_entropy=1.5, objective=objective, beta_rule=rule)  # beta is not controlled


def test_a_value_that_is_not_finite_does_not_become_a_bound() -> None:
    chained = build_rule(CustomRule(import_path=f"{__name__}:to_infinity"), Loop("tau", "weight_entropy", 0.1, 1.0))
    with pytest.raises(InvalidReportError, match="next value is inf"):
        chained.update(Signal(gradient=0.1, value=0.3), chained.init(0.3))


def to_infinity() -> UpdateRule:
    return UpdateRule(lambda value: {}, lambda signal, state: (replace(signal, value=float("inf")), state))


def signal_only() -> UpdateRule:
    return UpdateRule(lambda value: {}, lambda signal, state: signal)  # type: ignore[arg-type,return-value]


def with_history() -> UpdateRule:
    return UpdateRule(lambda value: {"history": [value]}, lambda signal, state: (signal, state))


def without_state() -> UpdateRule:
    return UpdateRule(lambda value: None, lambda signal, state: (signal, state))  # type: ignore[arg-type,return-value]


def test_mistakes_of_an_own_rule_are_named() -> None:
    loop = Loop("tau", "weight_entropy", 0.1, 1.0)
    chained = build_rule(CustomRule(import_path=f"{__name__}:signal_only"), loop)
    with pytest.raises(InvalidReportError, match=r"signal_only: update returned Signal\(.*must be \(Signal, state\)"):
        chained.update(Signal(gradient=0.1, value=0.3), chained.init(0.3))
    for name, message in (("with_history", r"state.history is \[1.0\]"), ("without_state", "'NoneType' object")):
        with pytest.raises(ConfigError, match=rf"its init\(value\) fails: {message}"):
            build_rule(CustomRule(import_path=f"{__name__}:{name}"), loop)


@pytest.mark.parametrize("setting", ["learning_rate", "clip", "dead_band", "proportional_gain"])
def test_infinite_settings_are_named(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"^controller.tau_rule.{setting} is inf; it must be"):
        load_config(overrides=[f"controller.tau_rule.{setting}=.inf"])
