"""A policy that responds over a hundred steps, or over a whole horizon, is healthy: no alarm is raised."""

from __future__ import annotations

import math
import random

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.diagnostics.alarms import Alarm
from maxent_ray.core.diagnostics.observer import Observer, ObserverState
from maxent_ray.core.statistics import BatchStatistics


class Watched:
    """A controller of KL, and an observer of its decisions."""

    def __init__(self, config: ControllerConfig) -> None:
        self.controller, self.observer = Controller(config), Observer(config)
        self.state, self.memory = self.controller.init(), ObserverState()

    def step(self, kl: float) -> tuple[Alarm, ...]:
        measured = BatchStatistics(groups=1, tokens=1, policy_kl_sum=kl)
        self.state, decision = self.controller.step(self.state, measured)
        self.memory, alarms = self.observer.observe(self.memory, decision)
        return alarms


@pytest.mark.parametrize("steps_to_answer", [20, 100])
@pytest.mark.parametrize("start", [0.01, 0.1, 1.0])
def test_a_slow_answer_is_an_answer(steps_to_answer: int, start: float) -> None:
    """KL goes to .05·(β/.1)^(−1/2) with that time constant; from every start the loop arrives, unalarmed."""
    for noise in (0.02, 0.1):
        loop = Watched(ControllerConfig(group_size=8, target_kl=0.05, beta=start))
        kl, draw, said = 0.02, random.Random(0), []
        for _ in range(800):
            kl += (0.05 * (loop.state.beta / 0.1) ** -0.5 - kl) / steps_to_answer
            said += loop.step(kl * math.exp(draw.gauss(0, noise)))
        assert said == []
        assert kl == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize(("lag", "noise"), [(500, 0.0), (400, 0.02), (400, 0.18)])
@pytest.mark.parametrize("start", [0.0, 2.0, 21.0])
def test_a_lag_of_a_horizon_that_ends_at_its_target_is_waited_for_at_the_bound(
    start: float, lag: int, noise: float
) -> None:
    """From far off, β waits at the bound that it began at for as long as five to ten horizons take."""
    bounds = {"beta_min": 0.1} if start < 1 else {"beta_max": 0.1}
    loop, draw = Watched(ControllerConfig(group_size=8, target_kl=0.05, beta=0.1, **bounds)), random.Random(0)
    ratio, at_bound = start, 0
    for _ in range(5000):
        ratio += (1.0 - ratio) / lag
        assert loop.step(0.05 * ratio * math.exp(draw.gauss(0, noise))) == ()
        at_bound += loop.memory.beta.contact.side != 0
    assert at_bound > 3000 or noise > 0


@pytest.mark.parametrize("orders", [1, 2])
def test_a_loop_that_reaches_its_target_after_a_long_stay_at_the_bound_raises_nothing(orders: int) -> None:
    """What the policy settles at moves to the target behind lags of 500 updates in all, and β answers from there on."""
    config = ControllerConfig(group_size=8, target_kl=0.05, beta=0.1, beta_min=0.1, beta_max=10.0)
    loop, draw = Watched(config), random.Random(1)
    lags = [0.0] * orders
    for _ in range(4000):
        inflow = 1.1 * (loop.state.beta / 0.1) ** -0.5
        for index in range(orders):
            lags[index] += (inflow - lags[index]) * orders / 500
            inflow = lags[index]
        assert loop.step(0.05 * lags[-1] * math.exp(draw.gauss(0, 0.05))) == ()
