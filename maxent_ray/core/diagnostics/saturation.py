"""Saturation test: contact of a coefficient with a bound, and targets beyond that bound.

Under noise, a proportional part moves the coefficient off its bound again and again. So contact lasts for as long as
the bound keeps clipping updates now and then, not only while it clips every single one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from maxent_ray.core.diagnostics.trend import SIGNIFICANCE, Trend
from maxent_ray.core.field_types import Within

MOST_ELASTICITY = 2 / 3
"""Largest plausible d ln signal / d ln coefficient: three times that of β on a policy's KL as recorded (γ = 0.22 in
``docs/explanation/control.md``). A signal with 1/2 and 18 % noise seems to have 0.55: noise raises its mean."""
SMALLEST = 1e-300
"""Smallest value that a logarithm is taken of: β may be 0 in linear space."""


@dataclass(frozen=True)
class BoundContact:
    """Contact of a coefficient with one of its bounds."""

    side: Annotated[int, Within(-1, 1)] = 0
    """−1: the lower bound, 1: the upper bound, 0: no contact."""
    free_updates: int = 0
    """Updates since the bound last clipped one."""


def update_contact(before: BoundContact, clipped_at: int, patience: int) -> BoundContact:
    """Contact after one more update.

    Args:
        before: Contact before the update.
        clipped_at: The bound that clipped this update, as a ``side``.
        patience: Consecutive updates without clipping that end the contact.

    Example:
        >>> update_contact(BoundContact(), 1, 20), update_contact(BoundContact(1, 3), 0, 20)
        (BoundContact(side=1, free_updates=0), BoundContact(side=1, free_updates=4))
        >>> update_contact(BoundContact(1, 19), 0, 20)
        BoundContact(side=0, free_updates=0)
    """
    if clipped_at:
        return BoundContact(clipped_at)
    if before.side == 0:
        return before
    if before.free_updates + 1 >= patience:
        return BoundContact()
    return BoundContact(before.side, before.free_updates + 1)


def is_beyond_bound(errors: Trend, mean_log: float, bound: float, outwards: int) -> bool:
    """True when the error would remain even with the coefficient exactly at its bound.

    Noise can move the coefficient off its bound only inwards, and that alone shifts the mean of a loop whose target
    lies just inside the bound. Moving back to the bound would change the logarithm of the signal by at most
    MOST_ELASTICITY times the change of the coefficient's. So the error, less SIGNIFICANCE standard errors, must be
    larger than that.

    Args:
        errors: Relative errors.
        mean_log: Mean logarithm of the coefficient over the same updates.
        bound: The bound that it is in contact with.
        outwards: Sign of the errors that push the coefficient beyond that bound.

    Example:
        >>> steady = Trend(count=20, mean=0.3)
        >>> is_beyond_bound(steady, math.log(1.0), 1.0, 1), is_beyond_bound(steady, math.log(0.6), 1.0, 1)
        (True, False)
    """
    least = abs(errors.mean) - SIGNIFICANCE * math.sqrt(errors.variance_of_mean)
    if errors.mean * outwards <= 0 or least <= 0:
        return False
    size = math.log1p(least) if errors.mean > 0 else -log(1 - least)
    return size > MOST_ELASTICITY * abs(mean_log - log(bound))


def log(value: float) -> float:
    """Logarithm of a coefficient or a ratio, which may be 0."""
    return math.log(max(value, SMALLEST))
