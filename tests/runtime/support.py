"""Measured data for the runtime tests, and the trajectory that a bare loop over ``Controller.step`` gives."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.controller_state import ControllerState
from maxent_ray.core.objectives import ControllerGradients, Sensitivity
from maxent_ray.core.statistics import BatchStatistics, merge

ANALYTIC = ControllerConfig(group_size=8, target_entropy=1.5, target_kl=0.05, optimizer="adam", ema_decay=0.5)
TRUNCATED = ControllerConfig(
    group_size=8, objective="truncated_backprop", target_entropy=1.5, target_kl=0.05, update_interval=2
)


def measured(rank: int, step: int) -> BatchStatistics:
    """Statistics of one rank's batch: any numbers that differ between ranks and steps and repeat."""
    draw = random.Random(1000 * step + rank)
    groups, tokens = draw.randint(2, 6), draw.randint(50, 90)
    return BatchStatistics(
        groups=groups,
        completions=8 * groups,
        tokens=tokens,
        reward_sum=draw.random() * groups,
        weight_entropy_sum=groups * draw.uniform(0.5, 1.0) * math.log(8),
        policy_kl_sum=tokens * draw.uniform(0.0, 0.2),
    )


def unrolled(rank: int, step: int) -> ControllerGradients:
    """Sensitivities of one rank's unroll."""
    draw = random.Random(7000 * step + rank)
    return ControllerGradients(
        source="truncated_backprop",
        sensitivity=Sensitivity(
            entropy=draw.uniform(1.2, 1.8),
            kl=draw.uniform(0.0, 0.1),
            entropy_tau=draw.uniform(0.1, 1.0),
            entropy_beta=draw.uniform(-0.1, 0.1),
            kl_tau=draw.uniform(-0.1, 0.1),
            kl_beta=draw.uniform(-1.0, -0.1),
            steps=1,
            tokens=draw.randint(10, 90),
            tau=0.3,
            beta=0.1,
            version=step,
            share=0.1,
        ),
    )


def hand_loop(config: ControllerConfig, ranks: Sequence[int], steps: int) -> list[ControllerState]:
    """States before the first round and after each: the oracle, without any of the runtime's code."""
    controller = Controller(config)
    states = [controller.init()]
    for step in range(steps):
        total = BatchStatistics()
        for rank in ranks:
            total = merge(total, measured(rank, step))
        states.append(controller.step(states[-1], total)[0])
    return states
