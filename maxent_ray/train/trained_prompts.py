"""Prompts that a checkpoint was trained on, which must be those of the run that resumes from it."""

from __future__ import annotations

import hashlib

from maxent_ray.errors import ResumeError
from maxent_ray.tasks import Task

_LARGER_SINCE = {"countdown": "countdown_small"}
"""Task that has other prompts since checkpoints tell them → name of the task that has the former ones."""


def fingerprint(task: Task) -> str:
    """Digest of a task's training prompts, in their order.

    Example:
        >>> from maxent_ray.tasks import CountdownSmall
        >>> fingerprint(CountdownSmall())
        'df3b75d3eb11b485'
    """
    return hashlib.sha256("\n".join(prompt.text for prompt in task.train).encode()).hexdigest()[:16]


def check_trained_prompts(recorded: str | None, task: Task) -> None:
    """Check that a task has the training prompts of a checkpoint.

    Args:
        recorded: `fingerprint` in the checkpoint; None where it is older than fingerprints.
        task: of the run that resumes.

    Raises:
        ResumeError: the prompts differ.
    """
    former = _LARGER_SINCE.get(task.name)
    if recorded == fingerprint(task) or (recorded is None and former is None):
        return
    if recorded is None:
        raise ResumeError(
            f"the checkpoint is from before the task {task.name!r} got more prompts; those that it was trained on are "
            f"now the task {former!r}: set task.name: {former} in the run's config.yaml, or start a new run"
        )
    raise ResumeError(
        f"the checkpoint was trained on other prompts than the task {task.name!r} has now: resume with that task, its "
        "data, task.kwargs, task.seed and task.held_out_prompts as they were, or start a new run"
    )
