"""Alarms on loops whose truth is known: none where all is well, and one where it is not. In short; see the script."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))

import alarm_rates
from alarm_rates import Case


def quiet(cases: list[Case], steps: int) -> bool:
    return all(replace(case, steps=steps).run() == {} for case in cases)


@pytest.mark.parametrize("kind", range(4), ids=["first order", "second order", "dead time", "drift"])
def test_a_healthy_loop_of_a_hundred_steps_hears_nothing(kind: int) -> None:
    assert quiet(alarm_rates.healthy(100, 0)[16 * kind : 16 * (kind + 1) : 4], 800)


@pytest.mark.parametrize("kind", range(4), ids=["first order", "second order", "dead time", "drift"])
def test_a_healthy_loop_of_three_hundred_steps_hears_nothing(kind: int) -> None:
    assert quiet(alarm_rates.healthy(300, 0, (0.22,))[16 * kind + 1 : 16 * (kind + 1) : 5], 1000)


def test_a_target_a_little_inside_a_bound_is_within_reach() -> None:
    assert quiet(alarm_rates.near_the_bound()[1::6], 500)


@pytest.mark.parametrize("steps_to_answer", [1, 100])
def test_a_target_beyond_a_bound_is_found_under_noise(steps_to_answer: int) -> None:
    """Where one in twenty-five was, while every update of a block had to be held back."""
    cases = alarm_rates.beyond_the_bound(steps_to_answer, 0.5)[10::8]
    for case in cases:
        assert replace(case, steps=600).run().keys() == {"saturated"}


@pytest.mark.parametrize("noise", [0.02, 0.18])
def test_a_signal_that_never_answers_is_found(noise: float) -> None:
    for case in alarm_rates.unanswered(noise)[::11]:
        assert replace(case, steps=700).run()


def test_a_frozen_coefficient_is_found_under_noise() -> None:
    for case in alarm_rates.frozen()[10::11]:
        assert replace(case, steps=600).run().keys() == {"stuck"}


def test_the_plant_is_a_lag_after_a_dead_time() -> None:
    """1 − e^(−t/20) of a step to 2, ten steps late."""
    plant = alarm_rates.Plant(lambda beta: 2.0, steps_to_answer=20, dead_time=10, start=1.0)
    signals = plant.signals(0.0, alarm_rates.random.Random(0))
    next(signals)
    heard = [signals.send(0.1) for _ in range(60)]
    assert heard[:10] == [1.0] * 10
    assert heard[29] == pytest.approx(2 - math.exp(-20 * -math.log(1 - 1 / 20)), rel=1e-9)
