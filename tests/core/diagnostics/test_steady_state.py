"""Steady, decaying and turning errors: exact responses of lags, and the noisy updates that significance takes."""

from __future__ import annotations

import itertools
import math

import pytest

from maxent_ray.core.diagnostics.steady_state import is_decaying, is_off_zero, is_steady, is_turning
from maxent_ray.core.diagnostics.trend import Trend


def trend_of(numbers: list[float]) -> Trend:
    trend = Trend()
    for number in numbers:
        trend = trend.add(number)
    return trend


def first_order(start: float, rest: float, lag: float, count: int = 20, at: int = 0) -> Trend:
    """e(t) = rest + (start − rest)·e^(−t/T)."""
    return trend_of([rest + (start - rest) * math.exp(-(at + step) / lag) for step in range(count)])


@pytest.mark.parametrize("lag", [5, 50, 400])
@pytest.mark.parametrize("rest", [0.0, -0.01, -1.0, -30.0])
def test_a_lag_within_the_horizon_that_settles_at_zero_or_beyond_is_never_steady(lag: float, rest: float) -> None:
    """|e| ≤ T·|de/dt|: from any moment until it is there, whatever the window."""
    for count, at in itertools.product((8, 20, 80), (0, 10, 100)):
        errors = first_order(1.0, rest, lag, count, at)
        if errors.mean + errors.slope * count / 2 > 0:  # not yet there
            assert not is_steady(errors, 500)
            assert is_decaying(errors, 500)


def test_a_lag_that_settles_off_target_is_steady_once_its_slope_is_small() -> None:
    """e = 1 + e^(−t/100): slope·500 ≤ e from 4·e^(−t/100) = 1 on, t = 139; its curvature bends away from zero."""
    found = next(at for at in range(1000) if is_steady(first_order(2.0, 1.0, 100, 20, at), 500))
    assert found == pytest.approx(100 * math.log(4), abs=15)


@pytest.mark.parametrize("count", [20, 40, 100])
@pytest.mark.parametrize("off_centre", [-0.3, 0.0, 0.3])
def test_the_turning_point_of_two_lags_is_not_steady(count: int, off_centre: float) -> None:
    """ë = −e/(T/2)² at the top, T = 300: level in the middle of the window, gone at 212 by its curvature."""
    curvature = 1 / 150**2
    errors = trend_of([1 - curvature * (step - count * (0.5 + off_centre)) ** 2 / 2 for step in range(count)])
    assert not is_steady(errors, 500)
    assert is_steady(errors, 100)
    mirrored = trend_of([-1 + curvature * (step - count * (0.5 + off_centre)) ** 2 / 2 for step in range(count)])
    assert not is_steady(mirrored, 500)


def test_what_levels_off_is_not_about_to_turn() -> None:
    """Towards a rest from below: the curvature bends towards zero. Towards one from above: away from it."""
    from_above = trend_of([1 + 1e-5 * (step - 20) ** 2 for step in range(20)])
    fastest = abs(from_above.slope) + 3 * from_above.slope_error
    assert is_steady(from_above, 500) is (500 * fastest <= from_above.mean)


def test_a_turn_is_seen_once_its_curvature_is_certain() -> None:
    """1 − c·t²/2 with noise ±σ alternating, over n = 101: c = 2e-4 bends by .25; standard error 2σ·√(180/n⁵)."""
    arch = [1 - 1e-4 * (step - 50) ** 2 for step in range(101)]
    for sigma, seen in ((0.1, True), (1.0, False)):
        errors = trend_of([each + sigma * (-1) ** step for step, each in enumerate(arch)])
        assert errors.curvature_error == pytest.approx(2 * sigma * math.sqrt(180 / 101**5), rel=0.1)
        assert is_turning(errors, 500) is seen
    assert not is_turning(trend_of(arch), 90)  # 2e-4·50·90 = .9 < the mean of .915: too slow to matter


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_how_many_noisy_updates_it_takes_to_be_sure(sigma: float) -> None:
    """±σ around 1: 3·σ√(12/n³)·500 + 2σ√(180/n⁵)·500²/2 = 1."""

    def needed(count: float) -> float:
        return 1500 * sigma * math.sqrt(12 / count**3) + 250_000 * sigma * math.sqrt(180 / count**5)

    errors = Trend()
    count = 0
    while not (count >= 8 and is_steady(errors, 500)):
        errors, count = errors.add(1 + sigma * (-1) ** count), count + 1
    assert needed(count) == pytest.approx(1, rel=0.2)
    assert count == pytest.approx({0.1: 180, 0.3: 290}[sigma], rel=0.1)


def test_off_zero_by_more_than_the_least() -> None:
    assert is_off_zero(trend_of([0.03, 0.03, 0.03]), 0.02)
    assert not is_off_zero(trend_of([0.01, 0.01, 0.01]), 0.02)
    assert not is_off_zero(trend_of([0.5, -0.4, 0.5, -0.4]), 0.02)


def test_an_error_that_takes_just_the_horizon_is_steady() -> None:
    """x = 1 + (i − 2)/16 over five updates: slope 1/16 without any error, so 16 updates change it by its mean."""
    exact = Trend(count=5, mean=1.0, squares=10 / 256, products=10 / 16)
    assert (exact.slope, exact.slope_error, exact.curvature_error) == (1 / 16, 0.0, 0.0)
    assert is_steady(exact, 16)
    assert not is_steady(exact, 17)
