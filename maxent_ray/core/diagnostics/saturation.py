"""Saturation test: contact of a coefficient with a bound, and targets beyond it.

Under noise a proportional part throws the coefficient off its bound again and again: it stands there for as long as the
bound goes on holding it back, not only while every single update is held back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from maxent_ray.core.diagnostics.trend import SURE, Trend
from maxent_ray.core.field_types import Within

MOST_ELASTICITY = 2 / 3
"""d ln signal / d ln coefficient that may be: three times that of β on a policy's KL as recorded (γ = 0.22 in
``docs/explanation/control.md``). A signal with 1/2 and 18 % noise seems to have 0.55: noise raises its mean."""
SMALLEST = 1e-300
"""β may be 0 in linear space; its logarithm is taken of this then."""


@dataclass(frozen=True)
class Standing:
    """At which bound a coefficient stands."""

    side: Annotated[int, Within(-1, 1)] = 0
    """−1: the lower one, 1: the upper one, 0: none."""
    free: int = 0
    """Updates since the bound last held it back."""


def stand(before: Standing, pushed: int, patience: int) -> Standing:
    """After one more update.

    Args:
        before: Until now.
        pushed: The bound that held this update back, as a ``side``.
        patience: Updates that none may be held back for until the coefficient has left its bound.

    Example:
        >>> stand(Standing(), 1, 20), stand(Standing(1, 3), 0, 20), stand(Standing(1, 19), 0, 20)
        (Standing(side=1, free=0), Standing(side=1, free=4), Standing(side=0, free=0))
    """
    if pushed:
        return Standing(pushed)
    if before.side == 0:
        return before
    if before.free + 1 >= patience:
        return Standing()
    return Standing(before.side, before.free + 1)


def is_beyond(errors: Trend, mean_log: float, bound: float, outwards: int) -> bool:
    """Whether the error is one that standing at the bound itself would not end.

    Noise that throws the coefficient off its bound can only throw it inwards, and that alone shifts the mean of a loop
    whose target lies just inside the bound. The rest of the way would change the logarithm of the signal by at most
    MOST_ELASTICITY times that of the coefficient, so the error, with SURE standard errors taken off, must be larger
    than that.

    Args:
        errors: Relative errors.
        mean_log: Mean logarithm of the coefficient over the same updates.
        bound: Where it stands.
        outwards: Sign of the errors that push it out there.

    Example:
        >>> steady = Trend(count=20, mean=0.3)
        >>> is_beyond(steady, math.log(1.0), 1.0, 1), is_beyond(steady, math.log(0.6), 1.0, 1)
        (True, False)
    """
    least = _least(errors)
    if errors.mean * outwards <= 0 or least <= 0:
        return False
    size = math.log1p(least) if errors.mean > 0 else -log(1 - least)
    return size > MOST_ELASTICITY * abs(mean_log - log(bound))


def _least(errors: Trend) -> float:
    """Size of the mean, with SURE standard errors taken off."""
    return abs(errors.mean) - SURE * math.sqrt(errors.variance_of_mean)


def log(value: float) -> float:
    """Of a coefficient or a ratio, which may be 0."""
    return math.log(max(value, SMALLEST))
