"""The error that a run ends with: its cause first, then where it was, then how to continue, if that can help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maxent_ray.errors import MaxentRayError
from maxent_ray.runtime.remote_errors import Cause


def run_error(cause: Cause, where: str, folder: Path) -> MaxentRayError:
    """Make the error of a run from the cause in one of its processes; it is of the cause's class.

    Args:
        cause: What was raised there.
        where: The process, and what was tried.
        folder: ``results/<name>``.

    Example:
        >>> from maxent_ray.errors import TaskError
        >>> run_error(Cause(TaskError, "the task is empty"), "rank 0", Path("results/mine"))
        TaskError('the task is empty (rank 0)')
        >>> print(run_error(Cause(None, "The actor died"), "rank 1", Path("results/mine")))
        The actor died (rank 1). Once its cause is gone, --resume results/mine starts again from the beginning
    """
    message = f"{cause.message} ({where})"
    kind = cause.kind or MaxentRayError
    return kind(f"{message}. {resume_advice(folder)}" if cause.resumable else message)


def resume_advice(folder: Path) -> str:
    """Advice on a failure that a resume may get past."""
    saved = any(folder.glob("*/checkpoint_*")) or any(folder.glob("*/*/checkpoint_*"))
    place = "continues from the last checkpoint" if saved else "starts again from the beginning"
    return f"Once its cause is gone, --resume {folder} {place}"


@contextmanager
def advise_on_resume(folder: Path) -> Iterator[None]:
    """Add the advice to errors of a run that has begun, raised in the driver itself, where it helps."""
    try:
        yield
    except MaxentRayError as error:
        if not error.resumable:
            raise
        raise type(error)(f"{error}. {resume_advice(folder)}") from error
