"""A policy that answers over a hundred steps is healthy: nothing is said about it."""

from __future__ import annotations

import math
import random

import pytest

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.statistics import BatchStatistics


@pytest.mark.parametrize("steps_to_answer", [20, 100])
@pytest.mark.parametrize("start", [0.01, 0.1, 1.0])
def test_a_slow_answer_is_an_answer(steps_to_answer: int, start: float) -> None:
    """KL goes to .05·(β/.1)^(−1/2) with that time constant; from every start the loop arrives, unalarmed."""
    for noise in (0.02, 0.1):
        controller = Controller(ControllerConfig(group_size=8, target_kl=0.05, beta=start))
        state, kl, draw, said = controller.init(), 0.02, random.Random(0), []
        for _ in range(800):
            kl += (0.05 * (state.beta / 0.1) ** -0.5 - kl) / steps_to_answer
            measured = kl * math.exp(draw.gauss(0, noise))
            state, decision = controller.step(state, BatchStatistics(groups=1, tokens=1, policy_kl_sum=measured))
            said += [alarm.kind for alarm in decision.alarms]
        assert said == []
        assert kl == pytest.approx(0.05, rel=0.15)
