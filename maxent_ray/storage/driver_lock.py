"""One driver a results folder: an exclusive lock of the operating system, released when the driver dies."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from filelock import lock_descriptor

from maxent_ray.errors import ResumeError
from maxent_ray.storage.growing_file import regular_file
from maxent_ray.storage.write_errors import writing

LOCK = ".driver.lock"
_HOLDER = re.compile(r"(\d+) ([\w.-]+)\n")
_LONGEST_HOLDER = 400

logger = logging.getLogger(__name__)


class Holder(NamedTuple):
    """Driver that has, or had, the lock."""

    process: int
    host: str


@contextmanager
def driver_lock(folder: Path) -> Iterator[None]:
    """Lock a results folder against other drivers for the time of the block, or until this process dies.

    The lock is on an open file that no child process inherits, so the kernel releases it with the driver, even while
    workers still run. The file stays, with the last holder's process and host. On storage without locks there is one
    warning, and no protection.

    Args:
        folder: ``results/<name>``, which exists.

    Raises:
        ResumeError: another driver has the lock; names its process.
        RecordingError: the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, driver_lock(Path(folder)):
        ...     with driver_lock(Path(folder)):
        ...         pass
        Traceback (most recent call last):
        maxent_ray.errors.ResumeError: /... is in use by another driver (process ... on ...): wait until it has ended,
        or end it, then continue with --resume
    """
    path = folder / LOCK
    with writing(path, "Recorded results are kept"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # not inherited: Python marks it so
    try:
        _take(descriptor, path)
        yield
    finally:
        os.close(descriptor)  # releases the lock


def _take(descriptor: int, path: Path) -> None:
    try:
        taken = lock_descriptor(descriptor, blocking=False)
    except OSError as error:
        _warn(path, str(error.strerror))
        return
    if not taken:
        holder = read_holder(path.parent)
        by = f" (process {holder.process} on {holder.host})" if holder else ""
        raise ResumeError(
            f"{path.parent} is in use by another driver{by}: wait until it has ended, or end it, then "
            "continue with --resume"
        )
    with writing(path, "Recorded results are kept"):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)


def read_holder(folder: Path) -> Holder | None:
    """Driver that locked a folder last, as it wrote it; None without a lock file, and for a moment after locking."""
    if regular_file(folder / LOCK) is None:
        return None
    try:
        with (folder / LOCK).open("rb") as file:
            holder = _HOLDER.fullmatch(file.read(_LONGEST_HOLDER).decode(errors="replace"))
    except OSError:
        return None
    return Holder(int(holder[1]), holder[2]) if holder else None


@cache
def _warn(path: Path, reason: str) -> None:
    logger.warning(
        "%s cannot be locked (%s): this folder is not protected from a second driver, so make sure that there is none",
        path,
        reason,
    )
