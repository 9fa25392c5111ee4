"""Steady-state test on an error's mean and slope, with their standard errors.

While a coefficient rests, a signal that answers as a first-order lag of T updates closes its gap to where it settles by
1/T of it each update. So if that is beyond the target, the error's mean is at most T times as large as the error's
slope: |e| ≤ T·|de/dt|. An error whose slope is certainly smaller than |e|/horizon therefore stays, for signals that
answer within the horizon. What is certainly faster, and goes towards zero, is an answer under way. What is neither yet
needs more updates: the slope's standard error falls as n^(−3/2).

A signal of second order, or a loop that swings, stands still for a moment where it turns, and a line through both
sides of the turn is level. But it is curved there. Behind two lags of T/2 each, ẍ = (u − x)/(T/2)² where it turns, so
an error that settles at zero or beyond has |ë| ≥ |e|/(T/2)² then, and e + ë·t²/2 is gone at t = T/√2. So what counts is
what slope and curvature let foresee for the horizon: of the slope with SURE standard errors, of the curvature with one,
which is large for long but falls as n^(−5/2).

Source: Åström and Murray 2008, "Feedback systems", section 5.3 (step response and time constant of a first-order
system); the standard errors are those of least squares (:mod:`maxent_ray.core.diagnostics.trend`).
"""

from __future__ import annotations

import math

from maxent_ray.core.diagnostics.trend import SURE, Trend


def is_off_zero(errors: Trend, least: float) -> bool:
    """Certainly off zero, and by more than ``least``.

    Example:
        >>> is_off_zero(Trend(count=20, mean=0.5, squares=1.0), 0.02)
        True
    """
    return abs(errors.mean) > least and errors.is_off_zero


def goes_away(errors: Trend, horizon: int) -> bool:
    """Certainly on its way to zero, and at this speed there within ``horizon`` updates.

    Example:
        >>> falling = Trend()
        >>> for number in (1.0, 0.98, 0.96, 0.94):
        ...     falling = falling.add(number)
        >>> goes_away(falling, 100), goes_away(falling, 10)
        (True, False)
    """
    return errors.reaches_zero_within(horizon)


def rests(errors: Trend, horizon: int) -> bool:
    """Certainly too slow, in either direction, to be gone within ``horizon``; and not about to turn to zero either.

    Example:
        >>> rests(Trend(count=20, mean=0.5), 500), rests(Trend(count=20, mean=0.5, squares=1.0), 500)
        (True, False)
    """
    fastest = abs(errors.slope) + SURE * errors.slope_error
    bend = max(errors.curvature_error - math.copysign(errors.curvature, errors.curvature * errors.mean), 0.0)
    return fastest * horizon + bend * horizon**2 / 2 <= abs(errors.mean)


def turns(errors: Trend, horizon: int) -> bool:
    """Certainly curved, and so much that what is level in the middle is not at rest at the ends.

    Example:
        >>> arch = Trend()
        >>> for index in range(21):
        ...     arch = arch.add(1.0 - 0.001 * (index - 10) ** 2)
        >>> abs(arch.slope) < 1e-12, turns(arch, 100), turns(arch, 10)
        (True, True, False)
    """
    curvature = abs(errors.curvature)
    change = curvature * (errors.count - 1) / 2
    return curvature > SURE * errors.curvature_error and change * horizon > abs(errors.mean)
