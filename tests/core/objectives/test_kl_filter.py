"""The filter against the textbook's matrices, and against plants that it has the model of."""

from __future__ import annotations

import math
import random
from dataclasses import astuple

import numpy as np
import pytest

from maxent_ray.core.objectives.kl_filter import ELASTICITY, NOISE_BOUNDS, PUSH_NOISE, KlFilter, Pull

TARGET = 0.05
PULL = Pull(authority=0.04, log_beta=math.log(0.1))


def mean(estimate: KlFilter) -> np.ndarray:
    return np.array([estimate.level, estimate.velocity, estimate.push])


def covariance(estimate: KlFilter) -> np.ndarray:
    e = estimate
    return np.array(
        [
            [e.level_level, e.level_velocity, e.level_push],
            [e.level_velocity, e.velocity_velocity, e.velocity_push],
            [e.level_push, e.velocity_push, e.push_push],
        ]
    )


def some_filter(seed: int = 0) -> KlFilter:
    """Any mean and any covariance, of usual sizes."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, 3)) * 0.01
    c = root @ root.T
    return KlFilter(0.06, 0.002, 0.006, c[0, 0], c[0, 1], c[0, 2], c[1, 1], c[1, 2], c[2, 2], measurements=20)


@pytest.mark.parametrize("seed", range(5))
def test_a_measurement_is_the_textbooks_update(seed: int) -> None:
    """K = P hᵀ/(h P hᵀ + R), x ← x + K (y − h x), P ← (I − K h) P with h = (1, 0, 0)."""
    before, kl = some_filter(seed), 0.071
    after = before.observe(kl, TARGET)
    h = np.array([[1.0, 0.0, 0.0]])
    p, noise = covariance(before), before.noise * before.level**2
    gain = p @ h.T / (h @ p @ h.T + noise)
    np.testing.assert_allclose(mean(after), mean(before) + (gain * (kl - before.level)).ravel(), rtol=1e-12)
    np.testing.assert_allclose(covariance(after), (np.eye(3) - gain @ h) @ p, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0])
def test_a_step_is_the_model_and_spreads_the_covariance(share: float) -> None:
    """F P Fᵀ + Q, with F by differences of the mean's own step."""
    before, log_beta = some_filter(), math.log(0.3)
    after = before.advance(share, PULL, log_beta, TARGET)
    drive = before.push - PULL.at(log_beta) * before.level
    velocity = (1 - share) * before.velocity + share * drive
    assert mean(after) == pytest.approx([before.level + velocity, velocity, before.push], rel=1e-12)

    def moved(x: np.ndarray) -> np.ndarray:
        return mean(KlFilter(*x).predict(share, PULL, log_beta))

    columns = [moved(mean(before) + 1e-3 * unit) - moved(mean(before)) for unit in np.eye(3)]
    f = np.stack(columns, axis=1) / 1e-3
    added = np.diag([(1e-3 * TARGET) ** 2] * 2 + [(PUSH_NOISE * share * TARGET) ** 2])
    np.testing.assert_allclose(covariance(after), f @ covariance(before) @ f.T + added, rtol=1e-9)


def test_it_finds_level_velocity_and_push_of_a_plant_it_has_the_model_of() -> None:
    """15 % noise: the filtered level is several times closer than a measurement, the push within a fifth."""
    rng = random.Random(0)
    level, velocity, push, log_beta = 0.0, 0.0, 0.2 * TARGET, math.log(0.1)
    estimate, missed, measured = KlFilter.start(TARGET), [], []
    for step in range(300):
        kl = level * math.exp(0.15 * rng.gauss(0, 1))
        estimate = estimate.observe(kl, TARGET)
        if step >= 100:
            missed.append(estimate.level / level - 1)
            measured.append(kl / level - 1)
        estimate = estimate.advance(0.1, PULL, log_beta, TARGET)
        velocity = 0.9 * velocity + 0.1 * (push - PULL.at(log_beta) * level)
        level += velocity
    assert level == pytest.approx(push / PULL.at(log_beta), rel=0.01)
    assert np.std(missed) < 0.5 * np.std(measured)
    assert estimate.push == pytest.approx(push, rel=0.2)
    assert math.sqrt(estimate.noise) == pytest.approx(0.15, rel=0.3)


def test_the_noise_estimate_stays_inside_its_bounds() -> None:
    low, high = NOISE_BOUNDS
    quiet = wild = KlFilter.start(TARGET)
    for step in range(300):
        quiet = quiet.observe(0.05, TARGET).advance(0.1, PULL, math.log(0.1), TARGET)
        wild = wild.observe(0.2 if step % 2 else 0.001, TARGET).advance(0.1, PULL, math.log(0.1), TARGET)
    assert low**2 <= quiet.noise <= high**2
    assert wild.noise == pytest.approx(high**2)


def test_kl_is_never_believed_to_be_negative() -> None:
    falling = KlFilter(level=0.001, velocity=-0.05, level_level=1e-4, measurements=9)
    assert falling.predict(0.1, PULL, math.log(0.1)).level == 0.0
    assert falling.observe(0.0, TARGET).level >= 0.0


def test_what_has_nothing_but_zeros_stays_finite() -> None:
    estimate = KlFilter.start(TARGET)
    for _ in range(50):
        estimate = estimate.observe(0.0, TARGET).advance(1.0, PULL, math.log(1e-4), TARGET)
    assert all(math.isfinite(value) for value in astuple(estimate))


# --- the pull ---


def test_authority_is_the_slope_of_the_pull_in_log_beta() -> None:
    h = 1e-5
    slope = (PULL.at(PULL.log_beta + h) - PULL.at(PULL.log_beta - h)) / (2 * h)
    assert slope == pytest.approx(PULL.authority, rel=1e-8)
    assert PULL.at(PULL.log_beta) == pytest.approx(PULL.authority / ELASTICITY)


@pytest.mark.parametrize("log_beta", [-9.0, -2.0, 0.0, 3.0])
def test_the_beta_for_a_pull_is_the_inverse(log_beta: float) -> None:
    assert PULL.log_beta_for(PULL.at(log_beta)) == pytest.approx(log_beta, abs=1e-9)


@pytest.mark.parametrize("pull", [0.0, -0.3])
def test_no_beta_pushes(pull: float) -> None:
    assert PULL.log_beta_for(pull) == -math.inf
