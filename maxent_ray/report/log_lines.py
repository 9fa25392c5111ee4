"""Redirection of log lines above a live display, instead of through it.

A live display replaces `sys.stdout` and `sys.stderr`, but a log handler keeps the stream it was made with,
and its lines would land in the middle of the table.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

Moved = list[tuple["logging.StreamHandler[TextIO]", TextIO]]


def streams() -> tuple[TextIO, TextIO]:
    """Standard output and standard error as they are now."""
    return sys.stdout, sys.stderr


def follow(before: tuple[TextIO, TextIO]) -> Moved:
    """Point every handler that writes to one of the streams `before` to the one that has taken its place.

    Returns:
        The handlers and their old streams, for `restore`.
    """
    moved: Moved = []
    for handler in _handlers():
        for old, new in zip(before, streams(), strict=True):
            if handler.stream is old and new is not old:
                handler.setStream(new)
                moved.append((handler, old))
                break
    return moved


def restore(moved: Moved) -> None:
    """Give handlers back the streams they had."""
    for handler, stream in moved:
        handler.setStream(stream)


def _handlers() -> list[logging.StreamHandler[TextIO]]:
    known = logging.root.manager.loggerDict.values()
    loggers = [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]
    return [h for logger in loggers for h in logger.handlers if isinstance(h, logging.StreamHandler)]
