"""SIGTERM, as `ray job stop` and batch systems send it: handled like Ctrl-C, with an exit status of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM: finished work is kept, and the message gives the command to resume."""


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Treat a SIGTERM during the block as Ctrl-C, which Ray Tune and Ray Train answer by saving.

    Enter it after Ray has started: Ray's own handler aborts the process.

    Raises:
        Terminated: in place of the KeyboardInterrupt that ended the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = True
        if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, signal.SIG_DFL):
            raise KeyboardInterrupt  # shells start background jobs with SIGINT ignored
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        if received:
            raise Terminated(*error.args) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
