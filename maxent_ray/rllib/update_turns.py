"""Turns of a learner's updates and of what must not happen during one, in other threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Thread, current_thread

LOOK_AGAIN_S = 1.0
"""Seconds between two looks at a thread that may have ended in the middle of an update."""


class UpdateTurns:
    """Keeps updates apart from restores: IMPALA and APPO train in another thread than they are restored in.

    Example:
        >>> turns = UpdateTurns()
        >>> turns.begin_update()
        >>> turns.end_update()
        >>> with turns.between_updates():
        ...     print("no update runs")
        no update runs
    """

    def __init__(self) -> None:
        self._condition = Condition()  # of a lock that one thread may take several times
        self._updating: Thread | None = None

    def begin_update(self) -> None:
        """Begin an update in this thread, once no restore runs."""
        with self._condition:
            self._updating = current_thread()

    def end_update(self) -> None:
        """End the update."""
        with self._condition:
            self._updating = None
            self._condition.notify_all()

    @contextmanager
    def between_updates(self) -> Iterator[None]:
        """Wait for the end of another thread's update, and let none begin."""
        with self._condition:
            while self._is_updating_elsewhere():
                self._condition.wait(LOOK_AGAIN_S)
            yield

    def _is_updating_elsewhere(self) -> bool:
        """False too where an update has failed: in this thread, or in one that has ended with it."""
        return self._updating is not None and self._updating is not current_thread() and self._updating.is_alive()
