"""Limited steps: no larger than the factor, nothing lost, nothing owed beyond a bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.objectives import Decoupled, TruncatedBackprop
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import PI, SGD, Adam, AdaptiveKL, Newton, Signal, proportional_integral, sgd
from maxent_ray.core.update_rules.error_rules import ErrorRule
from maxent_ray.core.update_rules.loop import Loop
from maxent_ray.core.update_rules.settings import build_rule
from maxent_ray.core.update_rules.step_limit import carry_over, limit_step
from maxent_ray.errors import ConfigError

FACTOR = 1.5
RULES: dict[str, ErrorRule] = {
    "pi": PI(learning_rate=0.3, proportional_gain=4.0, clip=None),
    "auto": PI(),
    "sgd": SGD(learning_rate=2.0, clip=None),
    "adam": Adam(learning_rate=2.0),
    "newton": Newton(learning_rate=3.0, clip=None),
}


def loop(factor: float | None = FACTOR, low: float = 1e-6, high: float = 1e6, **changes: Any) -> Loop:
    return Loop("beta", "policy_kl", low, high, max_step_factor=factor, **changes)


def values(
    settings: ErrorRule, errors: Sequence[float], at: Loop, start: float = 0.1
) -> tuple[list[float], list[tuple[str, ...]]]:
    """The coefficient before the first update and after each, and events; errors are descent directions."""
    rule, found, events = build_rule(settings, at), [start], []
    state = rule.init(start)
    for error in errors:
        curvature = 0.2 / found[-1]  # of an error that is linear in ln v
        signal, state = rule.update(Signal(gradient=error, value=found[-1], curvature=curvature), state)
        found.append(signal.value)
        events.append(signal.events)
    return found, events


def noisy(count: int) -> list[float]:
    return [0.8 * math.sin(7.0 * step) for step in range(count)]


@pytest.mark.parametrize("name", RULES)
def test_no_rule_moves_by_more_than_the_factor(name: str) -> None:
    at = loop(response="auto") if name == "auto" else loop()
    found, events = values(RULES[name], [-3.0, *noisy(40), 3.0, -3.0], at)
    steps = [abs(math.log(b / a)) for a, b in pairwise(found)]
    assert max(steps) == pytest.approx(math.log(FACTOR), rel=1e-12)
    assert all(("step_limited" in each) or step < math.log(FACTOR) for step, each in zip(steps, events, strict=True))


@pytest.mark.parametrize("name", ["pi", "sgd"])
def test_what_is_owed_is_paid_in_full(name: str) -> None:
    """Rules without the coefficient in their formula end where they would have ended without a limit."""
    disturbance = [-1.0, -2.0, 1.0, *noisy(10), *[0.0] * 40]
    limited, events = values(RULES[name], disturbance, loop())
    free, _ = values(RULES[name], disturbance, loop(None))
    assert limited[-1] == pytest.approx(free[-1], rel=1e-9)
    assert any("step_limited" in each for each in events) and "step_limited" not in events[-1]
    assert max(abs(math.log(a / b)) for a, b in zip(limited, free, strict=True)) > 0.5


def test_a_cut_without_memory_would_lose_the_proportional_action() -> None:
    """An impulse of the error moves a proportional term there and back: the sum of both steps is the integral's."""
    settings = PI(learning_rate=0.1, proportional_gain=5.0, clip=None, ema_decay=0.0)
    found, _ = values(settings, [0.0, -1.0, 0.0, 0.0, *[0.0] * 20], loop(2.0))
    assert found[-1] == pytest.approx(0.1 * math.exp(0.1), rel=1e-12)


def test_steps_within_the_factor_are_the_rules_own_to_the_bit() -> None:
    errors = noisy(50)
    limited, events = values(PI(learning_rate=0.2, proportional_gain=0.1), errors, loop(3.0))
    assert limited == values(PI(learning_rate=0.2, proportional_gain=0.1), errors, loop(None))[0]
    assert not any("step_limited" in each for each in events)


def test_by_hand() -> None:
    rule = limit_step(proportional_integral(2.0, 0.5), 2.0, low=1e-3, high=3.2)
    two = math.log(2)
    signal, state = rule.update(Signal(gradient=-6 * two, value=0.1), rule.init(0.1))  # asks for ln 8
    assert signal.value == pytest.approx(0.2) and state["owed"] == pytest.approx(2 * two)
    signal, state = rule.update(Signal(gradient=-6 * two, value=0.2), state)  # for ln 8 more
    assert signal.value == pytest.approx(0.4)
    assert state["owed"] == pytest.approx(3 * two)  # to the bound 3.2, not 4 ln 2
    signal, state = rule.update(Signal(gradient=-4 * two, value=0.4), state)  # .5·4 − 2·2 = −2: takes ln 4 back
    assert signal.value == pytest.approx(0.8)
    assert state["owed"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1], ids=["low", "high"])
def test_nothing_is_owed_beyond_a_bound(sign: int) -> None:
    """After a hundred steps against a bound the first error of the other sign moves the coefficient at once."""
    found, events = values(SGD(learning_rate=3.0, clip=None), [*[sign * 2.0] * 100, -sign * 0.1], loop(2.0, 1e-3, 10.0))
    bound = 1e-3 if sign > 0 else 10.0
    assert found[-2] == bound and any("projected_low" in e or "projected_high" in e for e in events)
    assert found[-1] == pytest.approx(bound * math.exp(sign * 0.3))


@pytest.mark.parametrize("factor", [1.1, 1.2, 2.0])
def test_a_rule_that_asks_for_the_whole_way_each_time_is_owed_nothing(factor: float) -> None:
    """Newton on an error that is linear in ln v: down to the solution without passing it, however short the steps."""
    rule = build_rule(Newton(learning_rate=1.0, clip=None), loop(factor))
    value, state = 5.0, rule.init(5.0)
    for _ in range(60):
        error = 0.2 * math.log(value / 0.6)
        signal, state = rule.update(Signal(gradient=error, value=value, curvature=0.2 / value), state)
        assert 0.6 * (1 - 1e-9) <= signal.value <= value
        value = signal.value
    assert value == pytest.approx(0.6, rel=1e-6)


def test_planned_steps_are_owed_nothing_either() -> None:
    settings = {"group_size": 8, "target_entropy": 1.5, "target_kl": 0.05}
    planned = ControllerConfig(**settings, objective=TruncatedBackprop(form=Decoupled()))  # type: ignore[arg-type]
    assert planned.rule("beta").plans_anew and not ControllerConfig(**settings).rule("beta").plans_anew  # type: ignore[arg-type]


def test_in_a_dead_band_nothing_is_paid() -> None:
    settings = SGD(learning_rate=4.0, clip=None, dead_band=0.1)
    found, _ = values(settings, [-1.0, 0.05, 0.05, -0.2, *[0.11, -0.11] * 10], loop(2.0))
    assert found[1:4] == pytest.approx([0.2, 0.2, 0.2])
    assert found[4] == pytest.approx(0.4)


def test_linear_steps_and_rules_of_others_keep_their_formulas() -> None:
    linear = SGD(learning_rate=1.0, clip=None, space="linear")
    assert values(linear, [-0.9], loop(1.5))[0][-1] == pytest.approx(1.0)
    assert build_rule(AdaptiveKL(), loop()).init(0.1) == build_rule(AdaptiveKL(), loop(None)).init(0.1)


def test_the_controller_limits_by_its_setting_and_says_so() -> None:
    settings: dict[str, Any] = {"target_kl": 0.05, "set_point_horizon": 0, "beta_rule": SGD(learning_rate=2.0)}
    batch = BatchStatistics(tokens=1, policy_kl_sum=0.2)
    for factor, beta in ((None, 0.1 * math.exp(2)), (3.0, 0.3), (1.1, 0.11)):
        controller = Controller(ControllerConfig(**settings, max_step_factor=factor))
        state, decision = controller.step(controller.init(), batch)
        assert state.beta == pytest.approx(beta)
        assert ("beta.step_limited" in decision.events) == (factor is not None)


def test_a_limit_may_come_and_go_between_checkpoints() -> None:
    limited, free = {"step": {"velocity": 0.0, "owed": 0.0}}, {"step": {"velocity": 0.0}}
    known = {"step": {"velocity": 0.3, "owed": 0.7}}
    assert carry_over(known, limited) == known
    assert carry_over(known, free) == {"step": {"velocity": 0.3}}
    assert carry_over({"step": {"velocity": 0.3}}, limited) == {"step": {"velocity": 0.3, "owed": 0.0}}
    assert carry_over({"ema": {"mean": 1.0}, **known}, limited) == limited
    assert carry_over({}, limited) == limited


@pytest.mark.parametrize("factor", [1.0, 0.3, -2.0, math.inf, math.nan], ids=str)
def test_a_factor_that_limits_nothing_or_all_is_refused(factor: float) -> None:
    with pytest.raises(ConfigError, match=r"factor is .*, must be a finite number > 1"):
        limit_step(sgd(1.0, space="log"), factor, 0.1, 1.0)
