"""Thinning of a curve: the smallest and the largest value of each bucket stay."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maxent_ray.dashboard.columns import Floats


class Thinned(NamedTuple):
    """Part of a curve."""

    steps: NDArray[np.int64]
    values: Floats
    exact: bool
    """Nothing was left out."""


def thin(steps: NDArray[np.int64], values: Floats, points: int) -> Thinned:
    """Leave at most about ``points`` points of a curve, its first, its last and every extreme among them.

    Args:
        steps: Increasing.
        values: Of each step; NaN where unknown.
        points: At least 2.

    Example:
        >>> values = np.zeros(1000)
        >>> values[503] = 7.0
        >>> found = thin(np.arange(1000), values, 20)
        >>> len(found.steps) <= 22, bool(found.values[0] < found.values.max()), found.exact
        (True, True, False)
    """
    if len(steps) <= points:
        return Thinned(steps, values, True)
    width = -(-len(steps) // max(1, points // 2))
    padded = np.append(values, np.full(-len(values) % width, np.nan)).reshape(-1, width)
    lowest = np.where(np.isnan(padded), np.inf, padded).argmin(axis=1)
    highest = np.where(np.isnan(padded), -np.inf, padded).argmax(axis=1)
    begins = np.arange(len(padded)) * width
    kept = np.unique(np.concatenate([begins + lowest, begins + highest, [0, len(steps) - 1]]))
    return Thinned(steps[kept], values[kept], False)
