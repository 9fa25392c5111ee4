"""Progress of a transfer, as lines: one after two seconds, then one every five."""

from __future__ import annotations

import time

from rich.text import Text

from maxent_ray.report.output import make_console

FIRST_AFTER_S, EVERY_S = 2.0, 5.0
_MB = 1e6


class TransferLines:
    """Receiver of a transfer's progress.

    Args:
        done: What was done, as ``Uploaded``.
        where: The other side.

    Example:
        >>> lines = TransferLines("Fetched", "s3://bucket/mine")
        >>> lines(10**6, 10**7)  # too soon
    """

    def __init__(self, done: str, where: str) -> None:
        self._done, self._where = done, where
        self._due: float | None = None

    def __call__(self, done: int, total: int) -> None:
        """Print a line if it is time."""
        now = time.monotonic()
        if self._due is None:
            self._due = now + FIRST_AFTER_S
        if now >= self._due:
            self._due = now + EVERY_S
            line = f"{self._done} {done / _MB:,.0f} of {total / _MB:,.0f} MB ({self._where})"
            make_console().print(Text(line), soft_wrap=True)
