"""Gains by response on simulated plants: `auto` beside the right and the wrong fixed choice; see the script."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import fmean

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments" / "benchmarks"))

import response
from response import ARMS, FAST_PLANTS, SLOW_PLANTS, Plant

FAST = {name: FAST_PLANTS[name] for name in ("at once, γ = 1, noise 10%", "at once, γ = 1, noise 50%")}
SLOW = {
    name: SLOW_PLANTS[name]
    for name in ("over 30 steps, γ = 0.5, noise 5%", "over 10 and 15 steps, γ = 0.67, noise 18%")
}
OTHERS = {
    name: {**FAST_PLANTS, **SLOW_PLANTS}[name]
    for name in (
        *("at once, γ = 0.6, noise 10%", "at once, γ = 0.6, noise 10%, drift 10%", "one step late, γ = 0.6"),
        "at once, γ from 0.3 to 1",
        *("over 60 steps, γ = 0.5, noise 20%", "over 3 steps, one late, γ = 0.6"),
    )
}


def error(plant: Plant, arm: str) -> float:
    """Mean relative error over the last half of two runs."""
    return fmean(fmean(response.errors(plant, ARMS[arm], seed)[response.STEPS // 2 :]) for seed in (0, 1))


@pytest.mark.parametrize("name", [*FAST, *SLOW, *OTHERS])
def test_auto_is_not_worse_than_the_better_fixed_choice(name: str) -> None:
    plant = {**FAST, **SLOW, **OTHERS}[name]
    better = min(error(plant, "fast"), error(plant, "slow"))
    assert error(plant, "auto, declared fast") < 1.12 * better
    assert error(plant, "auto, declared slow") < 1.12 * better


@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_the_wrong_fixed_choice_is_visibly_worse(name: str) -> None:
    plant, right, wrong = {**FAST, **SLOW}[name], *(("fast", "slow") if name in FAST else ("slow", "fast"))
    assert error(plant, wrong) > 1.15 * error(plant, right)
