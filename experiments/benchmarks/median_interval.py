"""Bootstrap interval of a median, which the benchmarks of paired times print."""

from __future__ import annotations

import numpy as np
import scipy.stats


def median_interval(values: list[float]) -> tuple[float, float]:
    """Bootstrap 95 % interval of the median."""
    found = scipy.stats.bootstrap((values,), np.median, method="percentile", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
