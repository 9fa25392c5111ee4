"""A thread that calls a function again and again: an upload, a heartbeat, a display."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Repeating:
    """Calls a function every few seconds in a thread of its own, until it is ended.

    Args:
        call: The function. It deals with its errors: one that it raises ends the repetitions.
        every_s: Seconds before the first call, and between the end of one and the next.
        name: Name of the thread.

    Example:
        >>> called = threading.Event()
        >>> repeating = Repeating(called.set, every_s=0.01, name="example")
        >>> repeating.start()
        >>> called.wait(timeout=10)
        True
        >>> repeating.stop()
    """

    def __init__(self, call: Callable[[], object], every_s: float, name: str) -> None:
        self._call = call
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)

    def start(self) -> None:
        """Begin; once only."""
        self._thread.start()

    def end(self) -> None:
        """Begin no further call; one that is under way goes on."""
        self._ended.set()

    def stop(self) -> None:
        """End, and wait for a call that is under way."""
        self.end()
        self._thread.join()

    def _repeat(self) -> None:
        while not self._ended.wait(self._every_s):
            self._call()
