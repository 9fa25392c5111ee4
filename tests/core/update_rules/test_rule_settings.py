"""Rules of other systems chosen by settings, for τ and for β: golden values, mirrored where the sign turns."""

from __future__ import annotations

from typing import Any

import pytest

from maxent_ray.config import load_config
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.state import ControllerState, Reason
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import AdaptiveKL, EntropyStep, RuleSettings, SacAlpha, Signal, ThresholdKL
from maxent_ray.core.update_rules.settings import Loop, build_rule
from maxent_ray.errors import ConfigError

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
