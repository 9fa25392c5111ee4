"""Numbers of records, where a value may be missing, and trial names in natural order."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean, median


def number(value: object) -> float | None:
    """Read a value as a float; None unless it is a finite number.

    Example:
        >>> number(2), number(float("nan")), number(None), number("2")
        (2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are known; None when none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def median_of_known(values: Iterable[float | None]) -> float | None:
    """Median of the values that are known; None when none is."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def natural_key(trial: str) -> tuple[str, int, str]:
    """Sort key that puts ``analytic-2`` before ``analytic-10``."""
    stem, _, tail = trial.rpartition("-")
    return (stem, int(tail), "") if stem and tail.isdecimal() else (trial, -1, "")
