"""Errors of files that cannot be written, with advice that fits the storage's error."""

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
    """Turn an error of the storage into one that names the file and says what to do.

    Args:
        path: File that is written inside the block.
        kept: Data that is whole even so, as a sentence without its full stop.

    Raises:
        RecordingError: the storage refused.

    Example:
        >>> with writing(Path("/nowhere/rows.jsonl"), "Training so far is kept"):
        ...     _ = Path("/nowhere/rows.jsonl").write_text("{}")
        Traceback (most recent call last):
        maxent_ray.errors.RecordingError: cannot write /nowhere/rows.jsonl: No such file or directory. Training so far
        is kept; the folder /nowhere is gone: bring it back, as by mounting its storage, then go on with --resume.
    """
    try:
        yield
    except OSError as error:
        raise RecordingError(
            f"cannot write {path}: {error.strerror or error}. {kept}; {_advice(path, error.errno)}, then go on with "
            "--resume."
        ) from None


def _advice(path: Path, number: int | None) -> str:
    if number in _FULL:
        return "make room"
    if number in _FORBIDDEN:
        return f"see that {path.parent} may be written to (its rights, and that it is not mounted read-only)"
    if number == errno.ENOENT:
        return f"the folder {path.parent} is gone: bring it back, as by mounting its storage"
    return "that is what the storage says: see to it"
