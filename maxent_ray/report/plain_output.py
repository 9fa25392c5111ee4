"""Plain text for pipes, log files and continuous integration: printed now and then, until the reader is gone."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from maxent_ray.report.output import Output


class PlainOutput:
    """Prints a text that changes.

    Args:
        console: Where to print.
        text: Makes the text as it is now.
        now: The clock, in seconds.
        every_s: Seconds between two unforced prints.
    """

    def __init__(self, console: Console, text: Callable[[], str], now: Callable[[], float], every_s: float) -> None:
        self._output = Output(console.file)  # type: ignore[arg-type]  # declared wider by rich
        self._text = text
        self._now = now
        self._every_s = every_s
        self._printed: float | None = None

    def print_when_due(self) -> None:
        """Print if the last print is long enough ago."""
        if self._printed is None or self._now() - self._printed >= self._every_s:
            self.print()

    def print(self) -> None:
        """Print, unless the reader has left, as ``| head`` does: then nothing is shown, and training continues."""
        self._printed = self._now()
        self._output.write(f"{self._text()}\n")
        self._output.flush()
