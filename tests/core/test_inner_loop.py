"""Inner loop of β: its factor, its course, and what it does to the spread of KL over updates of a simulated PPO."""

from __future__ import annotations

import math
import random
from statistics import mean

import pytest
import torch

from maxent_ray.core.inner_loop import COURSE_DECAY, GAIN, HALF_TRUST, LARGEST_FACTOR, beta_factor, next_course

COURSE = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0], dtype=torch.float64)


@pytest.mark.parametrize("height", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("seen", [2, 3, 4])
def test_the_factor_is_the_predicted_ratio_to_a_power_that_grows_with_what_was_seen(height: float, seen: int) -> None:
    share = (COURSE[:seen].sum() / COURSE.sum()).item()
    expected = height ** (GAIN * share / (share + HALF_TRUST))
    assert beta_factor(COURSE, 0.02 * height * COURSE[:seen], 0.02).item() == pytest.approx(expected, rel=1e-9)


def test_the_first_minibatch_says_nothing() -> None:
    """The policy is the behaviour policy still: no KL, and none usually."""
    assert beta_factor(COURSE, COURSE[:1], 0.02).item() == pytest.approx(1.0, abs=1e-3)
    assert beta_factor(COURSE, torch.tensor([-1e-9], dtype=torch.float64), 0.02).item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("kl", "expected"), [(1e6, LARGEST_FACTOR), (0.0, 1 / LARGEST_FACTOR)])
def test_the_factor_is_limited(kl: float, expected: float) -> None:
    assert beta_factor(COURSE, torch.full((4,), kl, dtype=torch.float64), 0.02).item() == pytest.approx(expected)


def test_a_kl_that_is_no_number_moves_nothing() -> None:
    assert beta_factor(COURSE, torch.tensor([0.0, math.nan], dtype=torch.float64), 0.02).item() == 1.0


def test_the_course_is_a_running_mean_of_relative_kl() -> None:
    first = next_course(None, 0.01 * COURSE)
    assert first is not None and torch.allclose(first, COURSE)
    steeper = torch.tensor([0.0, 0.0, 1.0, 2.0, 2.0], dtype=torch.float64)
    second = next_course(first, 0.5 * steeper)
    assert second is not None and torch.allclose(second, COURSE_DECAY * COURSE + (1 - COURSE_DECAY) * steeper)
    assert second.mean().item() == pytest.approx(1.0)


@pytest.mark.parametrize("seen", [torch.zeros(5), torch.full((5,), math.nan), torch.tensor([0.0, math.inf, 1.0])])
def test_an_update_without_usable_kl_leaves_the_course(seen: torch.Tensor) -> None:
    assert next_course(COURSE, seen) is COURSE


def test_another_number_of_minibatches_begins_the_course_anew() -> None:
    course = next_course(COURSE, torch.tensor([0.0, 2.0]))
    assert course is not None and course.tolist() == [0.0, 2.0]


def simulated(*, follows: bool) -> float:
    """Mean |KL/KL* − 1| of updates of 20 minibatches, at the β that is right on average.

    A policy moves away from where it began by the advantages' push, and β pulls it back: d ← d + η(h − β d), and
    KL = d²/2. The push h differs by 25 % from update to update.
    """
    draw, course, errors = random.Random(0), None, []
    for _ in range(200):
        push, factor, distance, seen = math.exp(draw.gauss(0.0, 0.25)), 1.0, 0.0, []
        for _ in range(20):
            seen.append(0.5 * distance**2 * math.exp(draw.gauss(0.0, 0.1)))
            if follows and course is not None and len(seen) < 20:
                factor = beta_factor(course, torch.tensor(seen), TARGET).item()
            distance += 0.1 * (push - factor * distance)
        course = next_course(course, torch.tensor(seen))
        errors.append(abs(mean(seen) / TARGET - 1))
    return mean(errors[20:])


TARGET = mean(0.5 * (1 - 0.9**k) ** 2 for k in range(20))
"""Mean KL of an update with h = 1 and β = 1."""


def test_following_kl_within_an_update_takes_back_what_no_decision_once_an_update_can() -> None:
    assert simulated(follows=True) < 0.6 * simulated(follows=False)
