"""Tasks: prompts to train and to evaluate on, with exact graders."""

from __future__ import annotations

from collections.abc import Callable

from maxent_ray.errors import ConfigError
from maxent_ray.tasks.base import Grade, Prompt, Task, draw, rank_share
from maxent_ray.tasks.countdown import Countdown

__all__ = ["Countdown", "Grade", "Prompt", "Task", "build_task", "draw", "rank_share"]

_BUILDERS: dict[str, Callable[[int, int], Task]] = {"countdown": Countdown}


def build_task(spec: str, *, held_out_count: int = 256, seed: int = 0) -> Task:
    """The task that a config names.

    Args:
        spec: `"countdown"`.
        held_out_count: prompts kept for evaluation.
        seed: of the split into training and held-out prompts.

    Raises:
        ConfigError: no task is called `spec`.
        TaskError: the task has too few prompts for `held_out_count`.

    Example:
        >>> len(build_task("countdown", held_out_count=64).held_out)
        64
    """
    if spec not in _BUILDERS:
        raise ConfigError(f"task is {spec!r}; valid: {', '.join(sorted(_BUILDERS))}")
    return _BUILDERS[spec](held_out_count, seed)
