"""Bootstrap confidence intervals of means and of paired mean differences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maxent_ray.errors import ConfigError

_ROUNDING = 1e-12  # relative: values this close to each other differ by rounding only


class Interval(NamedTuple):
    """A confidence interval, in the unit of its values."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """True when `value` lies outside."""
        return not self.low <= value <= self.high


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, seed: int = 0, resamples: int = 2000
) -> Interval:
    """Compute the bias-corrected and accelerated bootstrap interval of the mean.

    Values that are all equal, where the correction is 0/0, have an interval of width zero.

    Args:
        values: n independent values, finite, at least one.
        confidence: between 0 and 1, both excluded.
        seed: of the resampling; the same seed gives the same interval.
        resamples: number of bootstrap samples, at least 1.

    Raises:
        ConfigError: `values` is empty or holds a value that is not finite, or a setting is out of range.

    Example:
        >>> low, high = bootstrap_interval([0.0, 1.0] * 50)
        >>> round(low, 1), round(high, 1)
        (0.4, 0.6)
        >>> bootstrap_interval([0.5, 0.5, 0.5])
        Interval(low=0.5, high=0.5)

    Source: Efron, "Better bootstrap confidence intervals", JASA 82 (1987), as implemented by `scipy.stats.bootstrap`.
    """
    _check_settings(confidence, resamples)
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise ConfigError(f"values has shape {sample.shape}; it must be a list of 1 or more numbers")
    if not np.isfinite(sample).all():
        raise ConfigError(f"values holds {sample[~np.isfinite(sample)][0]}; every value must be finite")
    if np.ptp(sample) <= _ROUNDING * np.abs(sample).max():
        return Interval(float(sample.mean()), float(sample.mean()))
    from scipy import stats  # takes longer to load than all the rest of a page or a command's help

    result = stats.bootstrap(
        (sample,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high))


def paired_interval(
    a: Sequence[float],
    b: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """Compute the interval of mean(a − b) where `a[i]` and `b[i]` belong to the same prompt.

    Args:
        a: per-prompt values of one run.
        b: per-prompt values of the other, on the same prompts in the same order.
        confidence: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.
        resamples: as in `bootstrap_interval`.

    Raises:
        ConfigError: the lengths differ, or as in `bootstrap_interval`.

    Example:
        >>> paired_interval([0.5, 1.0, 0.75], [0.25, 0.75, 0.5])
        Interval(low=0.25, high=0.25)
    """
    return seed_paired_interval([a], [b], confidence=confidence, seed=seed, resamples=resamples)


def seed_paired_interval(
    a: Sequence[Sequence[float]],
    b: Sequence[Sequence[float]],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """Compute the interval of mean(a − b) over seeds × prompts, with prompts resampled as clusters.

    All seeds of a prompt are drawn together, since what makes a prompt hard makes it hard for every seed.
    Every cluster has the same size, so the mean of a resample is the mean of its prompts' means over seeds,
    and the interval is that of those means. It speaks for other prompts and these seeds, not for other seeds.

    Args:
        a: values of one method, `[seeds][prompts]`.
        b: values of the other: the same seeds and the same prompts, in the same order.
        confidence: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.
        resamples: as in `bootstrap_interval`.

    Raises:
        ConfigError: the two tables differ in shape or are ragged, or as in `bootstrap_interval`.

    Example:
        >>> seed_paired_interval([[1.0, 0.5], [0.5, 1.0]], [[0.0, 0.5], [0.5, 0.0]])
        Interval(low=0.5, high=0.5)
    """
    widths = sorted({len(row) for row in (*a, *b)})
    if len(a) != len(b) or len(a) == 0 or len(widths) != 1:
        raise ConfigError(
            f"a and b have {len(a)} and {len(b)} seeds with {widths} prompts; "
            "both need the same seeds, 1 or more, and every seed the same prompts"
        )
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return bootstrap_interval(
        differences.mean(axis=0).tolist(), confidence=confidence, seed=seed, resamples=resamples
    )


def seed_and_prompt_interval(
    a: Sequence[Sequence[float]],
    b: Sequence[Sequence[float]] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """Compute the interval of mean(a − b) over seeds × prompts, with both resampled.

    Every resample draws seeds and, apart from them, prompts, both with replacement, and takes the mean of all cells. So
    the interval speaks for other seeds and for other prompts. Of S seeds the part of the variance that they make is
    (S − 1)/S of what it should be; what seed and prompt make together counts three times, so that the interval of many
    prompts errs on the wide side only where seeds hardly differ.

    Args:
        a: values of one method, `[seeds][prompts]`.
        b: values of the other, on the same seeds and prompts in the same order; None: the interval of mean(a).
        confidence: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.
        resamples: as in `bootstrap_interval`.

    Raises:
        ConfigError: the tables differ in shape or are ragged or empty, or a setting is out of range.

    Example:
        >>> seed_and_prompt_interval([[1.0, 0.5], [0.5, 1.0]], [[0.0, -0.5], [-0.5, 0.0]])
        Interval(low=1.0, high=1.0)

    Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), section 4.
    """
    _check_settings(confidence, resamples)
    values = _table("a", a) - (0.0 if b is None else _table("b", b, len(a), len(a[0])))
    of_seeds, of_prompts = _resample_counts(*values.shape, resamples, seed)
    means = np.einsum("rs,sp,rp->r", of_seeds, values, of_prompts, optimize=True) / values.size
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


@lru_cache(maxsize=2)
def _resample_counts(
    rows: int, columns: int, resamples: int, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Count how often every resample holds each row, ``[resamples, rows]``, and each column, ``[resamples, columns]``.

    Counts instead of indices: the mean over the cells of a resample is a product of two vectors with the table. Drawing
    them takes far longer than that product, and tables of one shape share them.
    """
    rng = np.random.default_rng(seed)
    of_rows, of_columns = (
        rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64) for n in (rows, columns)
    )
    for shared in (of_rows, of_columns):
        shared.setflags(write=False)
    return of_rows, of_columns


def _check_settings(confidence: float, resamples: int) -> None:
    if not 0.0 < confidence < 1.0:
        raise ConfigError(f"confidence is {confidence}; it must lie between 0 and 1, both excluded")
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; it must be at least 1")


def _table(
    name: str, values: Sequence[Sequence[float]], rows: int | None = None, columns: int | None = None
) -> npt.NDArray[np.float64]:
    """Check `[seeds][prompts]` for its shape, and for values that are not finite."""
    widths = sorted({len(row) for row in values})
    expected = (len(values) if rows is None else rows, widths[:1] if columns is None else [columns])
    if (len(values), widths) != expected or not widths or not widths[0]:
        raise ConfigError(
            f"{name} has {len(values)} seeds with {widths} prompts; it needs 1 or more of both, every seed the same "
            "prompts, and b the same as a"
        )
    table = np.asarray(values, dtype=np.float64)
    if not np.isfinite(table).all():
        raise ConfigError(f"{name} holds {table[~np.isfinite(table)][0]}; every value must be finite")
    return table
