"""Running least squares of a series of numbers: mean, slope and curvature, with their standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from maxent_ray.core.field_types import NonNegative

LARGEST_ERROR = 1e6
"""Larger numbers are clipped to this: relative errors above a million need no distinction."""
SIGNIFICANCE = 3.0
"""Standard errors from zero at which an estimate counts as significant."""


@dataclass(frozen=True)
class Trend:
    """Mean, slope and curvature of x₀, x₁, …, with their standard errors; updated one by one.

    Least squares on the index i: slope = Σ(i − ī)(x − x̄)/Σ(i − ī)², with Σ(i − ī)² = n(n² − 1)/12. With the second
    discrete Legendre polynomial q = (i − ī)² − (n² − 1)/12, which is orthogonal to the line,
    curvature = 2 Σq(x − x̄)/Σq², with Σq² = n(n² − 1)(n² − 4)/180. Standard errors assume independent numbers.

    Example:
        >>> trend = Trend()
        >>> for number in (1.0, 3.0, 2.0, 4.0):
        ...     trend = trend.add(number)
        >>> trend.mean, trend.slope
        (2.5, 0.8)

    Source: Welford 1962, "Note on a method for calculating corrected sums of squares and products" (mean, squares,
    products; Σ(i − ī)²(x − x̄) follows in the same way, see :meth:`add`); Forsythe 1957, "Generation and use of
    orthogonal polynomials for data-fitting with a digital computer".
    """

    count: int = 0
    mean: float = 0.0
    squares: NonNegative = 0.0
    """Σ(x − x̄)²."""
    products: float = 0.0
    """Σ(i − ī)(x − x̄)."""
    curvature_products: float = 0.0
    """Σ(i − ī)²(x − x̄)."""

    def add(self, number: float) -> Trend:
        """Add one number.

        It lies δ off the mean of the n before it. ī goes up by 1/2 and x̄ by δ/(n + 1), so Σ(i − ī)²(x − x̄) goes up by
        −Σ(i − ī)(x − x̄) − δ n(n² + 2)/(12(n + 1)) over those n, and by n³δ/(4(n + 1)) for the new one: by
        −Σ(i − ī)(x − x̄) + δ n(n − 1)/6 in all.
        """
        number = min(max(number, -LARGEST_ERROR), LARGEST_ERROR)
        before, deviation = self.count, number - self.mean
        count = before + 1
        mean = self.mean + deviation / count
        return Trend(
            count,
            mean,
            self.squares + max(deviation * (number - mean), 0.0),
            self.products + (before + 1) / 2 * (number - mean) if before else 0.0,
            self.curvature_products - self.products + deviation * before * (before - 1) / 6,
        )

    @property
    def variance_of_mean(self) -> float:
        """Squared standard error of the mean; infinite for fewer than two numbers."""
        return self.squares / (self.count * (self.count - 1)) if self.count > 1 else math.inf

    @property
    def slope(self) -> float:
        """Change from one number to the next; 0 for fewer than two."""
        return self.products / self._index_squares if self.count > 1 else 0.0

    @property
    def slope_error(self) -> float:
        """Standard error of the slope; infinite for fewer than three numbers."""
        if self.count < 3:
            return math.inf
        residual = max(self.squares - self.products * self.slope, 0.0)
        return math.sqrt(residual / ((self.count - 2) * self._index_squares))

    @property
    def curvature(self) -> float:
        """Change of the slope from one number to the next; 0 for fewer than three."""
        return 2 * self.curvature_products / self._curvature_squares if self.count > 2 else 0.0

    @property
    def curvature_error(self) -> float:
        """Standard error of the curvature; infinite for fewer than four numbers."""
        if self.count < 4:
            return math.inf
        residual = max(self.squares - self.products * self.slope - self.curvature_products * self.curvature / 2, 0.0)
        return 2 * math.sqrt(residual / ((self.count - 3) * self._curvature_squares))

    @property
    def is_off_zero(self) -> bool:
        """True when the mean differs significantly from 0."""
        return abs(self.mean) > SIGNIFICANCE * math.sqrt(self.variance_of_mean)

    def reaches_zero_within(self, more: int) -> bool:
        """True when the slope is significantly towards 0 and takes the mean there within ``more`` numbers."""
        towards = -math.copysign(self.slope, self.slope * self.mean)
        return towards > SIGNIFICANCE * self.slope_error and towards * more > abs(self.mean)

    @property
    def _index_squares(self) -> float:
        return self.count * (self.count**2 - 1) / 12

    @property
    def _curvature_squares(self) -> float:
        return self.count * (self.count**2 - 1) * (self.count**2 - 4) / 180
