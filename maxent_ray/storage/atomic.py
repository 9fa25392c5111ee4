"""Files that are either whole or absent, whatever dies while they are written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from maxent_ray.storage.write_errors import writing

PARTIAL = ".partial"
"""Suffix of files and folders that are still being written."""


def write_atomic(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that a crash, or a disk without room, leaves the old one or the new one, never a part.

    The content goes into another file of the same folder and onto the disk, then takes the name over.

    Args:
        path: Where to; the folder exists.
        content: All of the file.

    Raises:
        RecordingError: the disk is full, or the folder is gone or cannot be written to; what was there before is whole.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomic(f"{folder}/note", b"whole")
        ...     Path(folder, "note").read_bytes()
        b'whole'
    """
    target = Path(path)
    partial = target.with_name(f"{target.name}.{os.getpid()}{PARTIAL}")
    try:
        with writing(target, "What was there before is whole"):
            _write_through(partial, content)
            partial.replace(target)
            sync_folder(target.parent)
    finally:
        with suppress(OSError):  # the storage has said already what is wrong with it
            partial.unlink()


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in a folder onto the disk: a renamed file is lost with the power otherwise."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(paths: Iterable[Path]) -> None:
    """Remove files and whole folders; what is gone already is fine."""
    for path in list(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
