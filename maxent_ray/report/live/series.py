"""A signal over the steps, kept in few numbers however many there are."""

from __future__ import annotations

from maxent_ray.report.numbers import mean

MOST = 512


class Series:
    """The values of one signal of one trial; neighbours are averaged whenever there are more than ``MOST``.

    Example:
        >>> series = Series()
        >>> for step in range(2000):
        ...     series.append(float(step))
        >>> len(series.values) <= 512, series.values[0], series.last
        (True, 1.5, 1999.0)
    """

    def __init__(self) -> None:
        self.values: list[float | None] = []
        """One for each ``stride`` steps, None where the signal was not known."""
        self.last: float | None = None
        self._stride = 1
        self._steps = self._known = 0
        self._sum = 0.0

    def append(self, value: float | None) -> None:
        """Add the value of the next step."""
        self.last = value
        self._steps += 1
        if value is not None:
            self._known += 1
            self._sum += value
        if self._steps == self._stride:
            self.values.append(self._sum / self._known if self._known else None)
            self._steps = self._known = 0
            self._sum = 0.0
            if len(self.values) == MOST:
                self.values = [mean(self.values[i : i + 2]) for i in range(0, MOST, 2)]
                self._stride *= 2
