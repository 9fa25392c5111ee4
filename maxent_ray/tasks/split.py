"""Split of a task's prompts: held out, for a supervised warm start, and for training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from maxent_ray.errors import TaskError
from maxent_ray.tasks.base import Prompt


@dataclass(frozen=True)
class Reserved:
    """Prompts that no run trains on.

    Args:
        held_out: number from which a run takes its held-out prompts; one that takes fewer trains on the same prompts.
        warm_start: number for the supervised warm start; no run evaluates on them either.
    """

    held_out: int
    warm_start: int


@dataclass(frozen=True)
class Split:
    """Parts of a task's prompts."""

    held_out: tuple[Prompt, ...]
    warm_start: tuple[Prompt, ...]
    train: tuple[Prompt, ...]


def split_prompts(
    name: str, prompts: Iterable[Prompt], reserved: Reserved | None, *, held_out_count: int, salt: str
) -> Split:
    """Split prompts in the order of a hash of their text: a larger `held_out_count` adds to a smaller one's.

    Args:
        name: of the task, for the error.
        prompts: all prompts of the task.
        reserved: makes the three parts disjoint; None: all that is not held out is for warm start and training both.
        held_out_count: prompts to evaluate on.
        salt: of the hash; equal salts give equal splits, in every process.

    Raises:
        TaskError: `held_out_count` is less than 1 or more than can be held out.

    Example:
        >>> split = split_prompts("abc", map(Prompt, "abcdefgh"), Reserved(3, 2), held_out_count=1, salt="0")
        >>> len(split.held_out), len(split.warm_start), len(split.train)
        (1, 2, 3)
    """
    order = sorted(prompts, key=lambda prompt: hashlib.sha256(f"{salt}:{prompt.text}".encode()).digest())
    most = reserved.held_out if reserved else len(order) - 1
    if not 1 <= held_out_count <= most:
        raise TaskError(
            f"held_out_count is {held_out_count}; {name} can hold out at most {most} of its {len(order)} prompts, "
            f"so it must be between 1 and {most}"
        )
    held_out = tuple(order[:held_out_count])
    if reserved is None:
        rest = tuple(order[held_out_count:])
        return Split(held_out, rest, rest)
    others = order[reserved.held_out :]
    return Split(held_out, tuple(others[: reserved.warm_start]), tuple(others[reserved.warm_start :]))
