"""A table of numbers that grows by columns of records, in one block of memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maxent_ray.dashboard.columns import Floats


class Table:
    """Numbers ``[fields, records]``; appending costs what is appended.

    Args:
        fields: Number of fields.

    Example:
        >>> table = Table(2)
        >>> table.append(np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> table.keep(np.array([1]))
        >>> table.values.tolist()
        [[2.0], [4.0]]
    """

    def __init__(self, fields: int) -> None:
        self._room = np.empty((fields, 0))
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def values(self) -> Floats:
        """All records; a view."""
        return self._room[:, : self._length]

    def append(self, records: Floats) -> None:
        """Add records at the end."""
        needed = self._length + records.shape[1]
        if needed > self._room.shape[1]:
            room = np.empty((len(self._room), max(needed, self._room.shape[1] * 3 // 2)))
            room[:, : self._length] = self.values
            self._room = room
        self._room[:, self._length : needed] = records
        self._length = needed

    def keep(self, places: NDArray[np.int64]) -> None:
        """Drop all other records."""
        self._room = self.values[:, places]
        self._length = len(places)
