"""Mean, slope and their standard errors against least squares by numpy."""

from __future__ import annotations

import random

import numpy as np
import pytest

from maxent_ray.core.diagnostics.trend import LARGEST_ERROR, Trend


def trend_of(numbers: list[float]) -> Trend:
    trend = Trend()
    for number in numbers:
        trend = trend.add(number)
    return trend


@pytest.mark.parametrize("count", [3, 4, 20, 57])
def test_it_is_least_squares(count: int) -> None:
    rng = random.Random(count)
    numbers = [rng.gauss(3.0, 1.0) - 0.1 * index for index in range(count)]
    trend = trend_of(numbers)
    (slope, _), covariance = np.polyfit(range(count), numbers, 1, cov=True)
    assert trend.mean == pytest.approx(np.mean(numbers), rel=1e-12)
    assert trend.variance_of_mean == pytest.approx(np.var(numbers, ddof=1) / count, rel=1e-12)
    assert trend.slope == pytest.approx(slope, rel=1e-9)
    assert trend.slope_error == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-9)


@pytest.mark.parametrize("count", [4, 5, 20, 57])
def test_its_curvature_is_that_of_the_parabola_of_least_squares(count: int) -> None:
    rng = random.Random(count)
    numbers = [rng.gauss(3.0, 1.0) - 0.1 * index + 0.03 * index**2 for index in range(count)]
    trend = trend_of(numbers)
    (half, _, _), residuals, *_ = np.polyfit(range(count), numbers, 2, full=True)
    spread = sum(((index - (count - 1) / 2) ** 2 - (count**2 - 1) / 12) ** 2 for index in range(count))
    assert trend.curvature == pytest.approx(2 * half, rel=1e-7)
    assert trend.curvature_error == pytest.approx(2 * np.sqrt(residuals[0] / (count - 3) / spread), rel=1e-6)


def test_too_few_numbers_are_sure_of_nothing() -> None:
    assert not trend_of([5.0]).is_off_zero
    assert not trend_of([5.0, 4.0]).reaches_zero_within(100)
    assert trend_of([5.0, 4.0]).curvature == 0.0
    assert trend_of([5.0, 4.0, 9.0]).curvature_error == np.inf


def test_off_zero_means_three_standard_errors() -> None:
    """±1 around m, n = 16: standard error 1/√15 = .258."""
    noise = [1.0, -1.0] * 8
    assert trend_of([0.78 + x for x in noise]).is_off_zero
    assert not trend_of([0.77 + x for x in noise]).is_off_zero


def test_going_to_zero_and_going_away() -> None:
    falling = [1 - 0.01 * index for index in range(20)]  # .905 on average: 91 more at this slope
    assert trend_of(falling).reaches_zero_within(91)
    assert not trend_of(falling).reaches_zero_within(90)
    assert not trend_of([1 + 0.01 * index for index in range(20)]).reaches_zero_within(10**6)
    assert trend_of([-x for x in falling]).reaches_zero_within(91)


def test_noise_is_no_trend() -> None:
    """A slope of three standard errors comes up in well under one in a hundred series without any."""
    rng = random.Random(0)
    found = sum(trend_of([rng.gauss(1, 0.3) for _ in range(20)]).reaches_zero_within(10**9) for _ in range(500))
    assert found <= 5


def test_enormous_numbers_stay_squarable() -> None:
    assert trend_of([1e300, -1e300]).squares == 2 * LARGEST_ERROR**2
