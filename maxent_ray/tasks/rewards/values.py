"""Values that a reward function returned: one finite number, or None, for each answer."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

from maxent_ray.core.field_types import shown
from maxent_ray.core.numbers import exact_number


class UnusableValueError(Exception):
    """A returned value cannot be a reward.

    Args:
        problem: Ends the sentence "the reward …".
        row: Index of the answer; None where it is the whole list.
    """

    def __init__(self, problem: str, row: int | None = None) -> None:
        super().__init__(problem, row)
        self.problem, self.row = problem, row


def read_values(returned: object, count: int) -> list[float | None]:
    """Convert what a reward function returned for `count` answers.

    Numbers may be of any library; a truth value counts as 0 or 1, as it does in a tensor.

    Raises:
        UnusableValueError: it is no list of as many values, or one of them is neither a finite number nor None.

    Example:
        >>> read_values([1, None, True], 3)
        [1.0, None, 1.0]
        >>> read_values([float("nan")], 1)
        Traceback (most recent call last):
        maxent_ray.tasks.rewards.values.UnusableValueError: ('returns nan', 0)
    """
    if isinstance(returned, str | bytes) or not isinstance(returned, Iterable):
        raise UnusableValueError(f"returns {shown(returned)} instead of a list with a number or None for each answer")
    values = list(returned)
    if len(values) != count:
        raise UnusableValueError(f"returns {len(values)} values for {count} answers")
    return [_read(value, row) for row, value in enumerate(values)]


def _read(value: object, row: int) -> float | None:
    if value is None:
        return None
    number = float(value) if isinstance(value, bool) else exact_number(value)
    if number is None or not isfinite(number):
        raise UnusableValueError(f"returns {shown(value if number is None else number)}", row)
    return float(number)
