"""Atomic files: complete or absent, even after a crash during the write."""

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
    """Write a file atomically: a crash, or a full disk, leaves the old content or the new, never a part.

    The content is written to another file of the same folder and synced to disk, and that file is then renamed.

    Args:
        path: The file; its folder exists.
        content: The whole content.

    Raises:
        RecordingError: the disk is full, or the folder is missing or not writable; the old file is intact.

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
        with writing(target, "The old file is intact" if target.exists() else "There is none of that name"):
            _write_through(partial, content)
            partial.replace(target)
            sync_folder(target.parent)
    finally:
        with suppress(OSError):  # the first error has the reason
            partial.unlink()


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync a folder's names to disk; otherwise a power failure may undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(paths: Iterable[Path]) -> None:
    """Remove files and folders with their content; missing ones are ignored."""
    for path in list(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
