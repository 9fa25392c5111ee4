"""Steady-state test on an error's mean, slope and curvature, with their standard errors.

With the coefficient at rest, a signal that responds as a first-order lag of T updates closes 1/T of its distance from
its final value at each update. If that final value is beyond the target, the error's mean is at most T times its slope:
|e| ≤ T·|de/dt|. An error whose slope is significantly smaller than |e|/horizon is therefore steady, for signals that
respond within the horizon. An error that is significantly faster, and moves towards zero, is decaying. An error that is
neither yet needs more updates: the slope's standard error falls as n^(−3/2).

A second-order signal, or an oscillating loop, stands still for a moment at its turning point, and a line fitted across
it is level; but the error is curved there. Behind two lags of T/2 each, ẍ = (u − x)/(T/2)² at the turning point, so an
error that settles at zero or beyond has |ë| ≥ |e|/(T/2)² then, and e + ë·t²/2 reaches zero at t = T/√2. The test is
therefore on the change that slope and curvature predict over the horizon: the slope with SIGNIFICANCE standard errors,
the curvature with one, which is large for long but falls as n^(−5/2).

Source: Åström and Murray 2008, "Feedback systems", section 5.3 (step response and time constant of a first-order
system); the standard errors are those of least squares (:mod:`maxent_ray.core.diagnostics.trend`).
"""

from __future__ import annotations

import math

from maxent_ray.core.diagnostics.trend import SIGNIFICANCE, Trend


def is_off_zero(errors: Trend, least: float) -> bool:
    """True when the mean error is significant, and larger than ``least``.

    Example:
        >>> is_off_zero(Trend(count=20, mean=0.5, squares=1.0), 0.02)
        True
    """
    return abs(errors.mean) > least and errors.is_off_zero


def is_decaying(errors: Trend, horizon: int) -> bool:
    """True when the error significantly moves towards zero, and reaches it within ``horizon`` updates at this slope.

    Example:
        >>> falling = Trend()
        >>> for number in (1.0, 0.98, 0.96, 0.94):
        ...     falling = falling.add(number)
        >>> is_decaying(falling, 100), is_decaying(falling, 10)
        (True, False)
    """
    return errors.reaches_zero_within(horizon)


def is_steady(errors: Trend, horizon: int) -> bool:
    """True when slope and curvature are significantly too small for the error to reach zero within ``horizon``.

    Example:
        >>> is_steady(Trend(count=20, mean=0.5), 500), is_steady(Trend(count=20, mean=0.5, squares=1.0), 500)
        (True, False)
    """
    fastest = abs(errors.slope) + SIGNIFICANCE * errors.slope_error
    bend = max(errors.curvature_error - math.copysign(errors.curvature, errors.curvature * errors.mean), 0.0)
    return fastest * horizon + bend * horizon**2 / 2 <= abs(errors.mean)


def is_turning(errors: Trend, horizon: int) -> bool:
    """True when the curvature is significant, and so large that a level middle of the window is no steady state.

    Example:
        >>> arch = Trend()
        >>> for index in range(21):
        ...     arch = arch.add(1.0 - 0.001 * (index - 10) ** 2)
        >>> abs(arch.slope) < 1e-12, is_turning(arch, 100), is_turning(arch, 10)
        (True, True, False)
    """
    curvature = abs(errors.curvature)
    change = curvature * (errors.count - 1) / 2
    return curvature > SIGNIFICANCE * errors.curvature_error and change * horizon > abs(errors.mean)
