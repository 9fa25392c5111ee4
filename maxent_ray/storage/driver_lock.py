"""One driver a results folder: an exclusive lock of the operating system, which no death leaves behind."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from filelock import lock_descriptor

from maxent_ray.errors import ResumeError
from maxent_ray.storage.write_errors import writing

LOCK = ".driver.lock"
_HOLDER = re.compile(r"(\d+) ([\w.-]+)\n")
_LONGEST_HOLDER = 400

logger = logging.getLogger(__name__)


@contextmanager
def driver_lock(folder: Path) -> Iterator[None]:
    """Keep other drivers off a results folder for the time of the block, or until this process dies.

    The lock is on an open file that no program started from here inherits, so that the kernel lets go of it together
    with the driver, whatever its workers still do. The file stays; it says who has the lock, or had it last. On
    storage that cannot lock there is one warning, and no protection.

    Args:
        folder: ``results/<name>``, which exists.

    Raises:
        ResumeError: another driver has the lock; the message says which.
        RecordingError: the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, driver_lock(Path(folder)):
        ...     with driver_lock(Path(folder)):
        ...         pass
        Traceback (most recent call last):
        maxent_ray.errors.ResumeError: /... is in use by another driver (process ... on ...): wait until it has ended,
        or end it, then go on with --resume
    """
    path = folder / LOCK
    with writing(path, "What was recorded is kept"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # not inherited: Python marks it so
    try:
        _take(descriptor, path)
        yield
    finally:
        os.close(descriptor)  # and lets go of the lock


def _take(descriptor: int, path: Path) -> None:
    try:
        taken = lock_descriptor(descriptor, blocking=False)
    except OSError as error:
        _warn(path, str(error.strerror))
        return
    if not taken:
        raise ResumeError(
            f"{path.parent} is in use by another driver{_holder(descriptor)}: wait until it has ended, or end it, then "
            "go on with --resume"
        )
    with writing(path, "What was recorded is kept"):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


def _holder(descriptor: int) -> str:
    """Holder of the lock, as the file names it; while a driver is taking the lock, the file may name nobody."""
    said = _HOLDER.fullmatch(os.pread(descriptor, _LONGEST_HOLDER, 0).decode(errors="replace"))
    return f" (process {said[1]} on {said[2]})" if said else ""


@cache
def _warn(path: Path, reason: str) -> None:
    logger.warning(
        "%s cannot be locked (%s): nothing keeps a second driver off this folder, so make sure that there is none",
        path,
        reason,
    )
