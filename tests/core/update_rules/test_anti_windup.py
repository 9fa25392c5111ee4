"""What comes after a bound does not depend on how long the coefficient stood there: for every optimizer, τ and β."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.state import ControllerState
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import SGD, Signal
from maxent_ray.core.update_rules.loop import Loop
from maxent_ray.core.update_rules.settings import build_rule
from tests.core.rules import RULES, rules

OPTIMIZERS = tuple(RULES)
TARGETS = {"target_entropy": 1.0, "target_kl": 1.0}
BOUNDS = {"tau": 1.0, "beta": 1.0, "tau_min": 0.5, "tau_max": 2.0, "beta_min": 0.5, "beta_max": 2.0}


def controller(optimizer: str, ema_decay: float, tau: Mapping[str, Any] | None = None, **both: Any) -> Controller:
    """A PI controller needs its proportional part to have a memory at all."""
    gains = {"proportional_gain": 1.0} if optimizer == "pi" else {}
    chosen = rules(optimizer, tau=tau, ema_decay=ema_decay, learning_rate=0.3, **gains, **both)
    return Controller(ControllerConfig(group_size=8, **TARGETS, **BOUNDS, **chosen))  # type: ignore[arg-type]


def measured(error: float) -> BatchStatistics:
    """Both signals off by a fraction of their target of 1 nat."""
    sums = {"weight_entropy_sum": 1 + error, "policy_kl_sum": 1 + error}
    return BatchStatistics(groups=1, tokens=1, entropy_tau_sum=0.5, kl_beta_sum=-0.5, **sums)  # type: ignore[arg-type]


def drive(
    loop: Controller, state: ControllerState, errors: list[float]
) -> tuple[ControllerState, list[tuple[float, float]]]:
    path = []
    for error in errors:
        state, _ = loop.step(state, measured(error))
        path.append((state.tau, state.beta))
    return state, path


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("error", [0.5, -0.5])
@pytest.mark.parametrize("space", ["log", "linear"])
def test_after_five_or_five_hundred_steps_at_a_bound_the_way_back_is_the_same(
    optimizer: str, ema_decay: float, error: float, space: str
) -> None:
    loop = controller(optimizer, ema_decay, space=space)
    ways_back = []
    for steps in (5, 500):
        state, path = drive(loop, loop.init(), [error] * 60)
        at_bounds = (0.5, 2.0) if error > 0 else (2.0, 0.5)  # H too high: τ falls; KL too high: β rises
        assert path[-1] == at_bounds
        state, path = drive(loop, state, [error] * steps)
        assert set(path) == {at_bounds}
        ways_back.append(drive(loop, state, [-error] * 60)[1])
    assert ways_back[0] == ways_back[1]  # to the bit
    assert ways_back[0][-1] == ((2.0, 0.5) if error > 0 else (0.5, 2.0))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_averages_the_first_error_of_the_other_sign_moves_it(optimizer: str) -> None:
    """Adam's first moment m = −g(1 − .9ⁿ) after n steps towards the bound; inwards, m_k = .9ᵏ m + (1 − .9ᵏ) g > 0 needs
    .9ᵏ < 1/(2 − .9ⁿ): k = 7 at the latest."""
    loop = controller(optimizer, 0.0)
    state, _ = drive(loop, loop.init(), [-0.5] * 200)
    _, path = drive(loop, state, [0.5] * 7)
    first = next(k for k, (tau, _) in enumerate(path, start=1) if tau < 2.0)
    assert first <= 7 if optimizer == "adam" else first == 1


def test_an_average_of_the_other_sign_is_forgotten_as_it_would_be_anywhere() -> None:
    """m ← .9m + .1g from m = −.25: positive once .9ᵏ < 1/2, k = 7; frozen it would be negative for ever."""
    loop = controller("sgd", 0.9)
    state, _ = drive(loop, loop.init(), [-0.25] * 300)
    _, path = drive(loop, state, [0.25] * 7)
    # bias correction: from the n-th step at the bound on, m stays at its value −.25(1 − .9ⁿ) there
    assert [tau < 2.0 for tau, _ in path].index(True) <= 6


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_nothing_grows_at_a_bound(optimizer: str) -> None:
    loop = controller(optimizer, 0.9)
    reached, _ = drive(loop, loop.init(), [-0.5] * 60)
    stayed, _ = drive(loop, reached, [-0.3, -0.9, -0.1] * 100)
    assert (stayed.tau_rule, stayed.beta_rule) == (reached.tau_rule, reached.beta_rule)


def test_a_confidence_below_zero_turns_the_push_around() -> None:
    """An error that would raise τ lowers it: at the upper bound the average goes on, at the lower one it is held."""
    rule = build_rule(SGD(learning_rate=0.5, ema_decay=0.9, clip=None), Loop("tau", "weight_entropy", 0.5, 2.0))
    for value, turned_is_held in ((2.0, False), (0.5, True)):
        for confidence in (1.0, -1.0):
            signal = Signal(gradient=-0.5, value=value, confidence=confidence)
            _, reached = rule.update(signal, rule.init(value))
            for _ in range(3):
                reached = rule.update(signal, reached)[1]
            state = rule.update(signal, reached)[1]
            assert (state == reached) == (turned_is_held if confidence < 0 else not turned_is_held)


def test_a_smaller_error_outwards_is_no_reason_to_leave() -> None:
    """PI: with the error of every step remembered, −.5 → −.1 would step by −1·(.4) + .3·.1 inwards, and back again."""
    loop = controller("pi", 0.0, tau={"clip": None})
    state, _ = drive(loop, loop.init(), [-0.1] * 60)
    _, path = drive(loop, state, [-0.5, -0.1] * 10)
    assert {tau for tau, _ in path} == {2.0}
