"""Errors of files that cannot be written, with advice that fits the operating system's error."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maxent_ray.errors import RecordingError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def writing(path: Path, kept: str) -> Iterator[None]:
    """Convert an OSError inside the block into one that names the file and what to do.

    Whether a resume continues from here only the run knows; see :mod:`maxent_ray.train.run_failure`.

    Args:
        path: The file or folder that is written inside the block.
        kept: What is intact in spite of the error, as a sentence without its full stop.

    Raises:
        RecordingError: the operating system raised an error.

    Example:
        >>> with writing(Path("/nowhere/rows.jsonl"), "Training so far is kept"):
        ...     _ = Path("/nowhere/rows.jsonl").write_text("{}")
        Traceback (most recent call last):
        maxent_ray.errors.RecordingError: cannot write /nowhere/rows.jsonl: No such file or directory. Training so far
        is kept; the folder /nowhere is missing: restore it, as by mounting its storage
    """
    try:
        yield
    except OSError as error:
        raise RecordingError(
            f"cannot write {path}: {error.strerror or error}. {kept}; {_advice(path, error.errno)}"
        ) from None


def _advice(path: Path, number: int | None) -> str:
    if number in _FULL:
        return "free some space"
    if number in _FORBIDDEN:
        return f"make {path.parent} writable (check its permissions, and that it is not mounted read-only)"
    if number == errno.ENOENT:
        return f"the folder {path.parent} is missing: restore it, as by mounting its storage"
    return "fix the storage's error"
