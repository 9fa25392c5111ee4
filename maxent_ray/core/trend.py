"""A series of numbers in four: how many, their mean, their spread, and whether they go anywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

from maxent_ray.core.field_kinds import NonNegative

LARGEST_ERROR = 1e6
"""Numbers count as at most this large: what is a million times off need not be told apart from what is more so."""
SURE = 3.0
"""Standard errors from zero at which something is held for certain."""


@dataclass(frozen=True)
class Trend:
    """Mean and slope of x₀, x₁, …, with their standard errors; taken in one by one.

    Least squares on the index i: slope = Σ(i − ī)(x − x̄)/Σ(i − ī)², with Σ(i − ī)² = n(n² − 1)/12. Standard errors
    take the numbers for independent.

    Example:
        >>> trend = Trend()
        >>> for number in (1.0, 3.0, 2.0, 4.0):
        ...     trend = trend.add(number)
        >>> trend.mean, trend.slope
        (2.5, 0.8)

    Source: Welford 1962, "Note on a method for calculating corrected sums of squares and products".
    """

    count: int = 0
    mean: float = 0.0
    squares: NonNegative = 0.0
    """Σ(x − x̄)²."""
    products: float = 0.0
    """Σ(i − ī)(x − x̄)."""

    def add(self, number: float) -> Trend:
        """With one more number."""
        number = min(max(number, -LARGEST_ERROR), LARGEST_ERROR)
        count, index_mean = self.count + 1, (self.count - 1) / 2
        mean = self.mean + (number - self.mean) / count
        products = self.products + ((self.count - index_mean) * (number - mean) if self.count else 0.0)
        return Trend(count, mean, self.squares + (number - self.mean) * (number - mean), products)

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
        left_over = max(self.squares - self.products * self.slope, 0.0)
        return math.sqrt(left_over / ((self.count - 2) * self._index_squares))

    @property
    def is_off_zero(self) -> bool:
        """Whether the mean is certainly not 0."""
        return abs(self.mean) > SURE * math.sqrt(self.variance_of_mean)

    def reaches_zero_within(self, more: int) -> bool:
        """Whether the numbers certainly go towards 0, and at this slope arrive there in so many more."""
        towards = -math.copysign(self.slope, self.slope * self.mean)
        return towards > SURE * self.slope_error and towards * more > abs(self.mean)

    @property
    def _index_squares(self) -> float:
        return self.count * (self.count**2 - 1) / 12
