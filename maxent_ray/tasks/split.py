"""Split of a task's prompts: held out, for a supervised warm start, and for training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

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
    name: str,
    prompts: Iterable[Prompt],
    reserved: Reserved | None,
    *,
    held_out_count: int,
    salt: str,
    problem: Callable[[Prompt], str] = attrgetter("text"),
) -> Split:
    """Split prompts in the order of a hash of their problem: a larger `held_out_count` adds to a smaller one's.

    Args:
        name: of the task, for the error.
        prompts: all prompts of the task.
        reserved: makes the three parts disjoint; None: all that is not held out is for warm start and training both.
        held_out_count: prompts to evaluate on.
        salt: of the hash; equal salts give equal splits, in every process.
        problem: name of the problem that a prompt states, where several prompts state the same one in other words.
            Such prompts are never in two parts: what is left of a problem after the last prompt of a part is in none.

    Raises:
        TaskError: `held_out_count` is less than 1 or more than can be held out.

    Example:
        >>> split = split_prompts("abc", map(Prompt, "abcdefgh"), Reserved(3, 2), held_out_count=1, salt="0")
        >>> len(split.held_out), len(split.warm_start), len(split.train)
        (1, 2, 3)
    """
    hashed = ((_hash(salt, problem(prompt)), _hash(salt, prompt.text), prompt) for prompt in prompts)
    by_hash = sorted(hashed, key=lambda each: each[:2])
    order, names = [prompt for _, _, prompt in by_hash], [name for name, _, _ in by_hash]
    most = reserved.held_out if reserved else len(order) - 1
    if not 1 <= held_out_count <= most:
        raise TaskError(
            f"held_out_count is {held_out_count}; {name} can hold out at most {most} of its {len(order)} prompts, "
            f"so it must be between 1 and {most}"
        )
    held_out = tuple(order[:held_out_count])
    if reserved is None:
        rest = tuple(order[_end_of_problem(names, held_out_count) :])
        return Split(held_out, rest, rest)
    start = _end_of_problem(names, reserved.held_out)
    end = start + reserved.warm_start
    return Split(held_out, tuple(order[start:end]), tuple(order[_end_of_problem(names, end) :]))


def _hash(salt: str, text: str) -> bytes:
    return hashlib.sha256(f"{salt}:{text}".encode()).digest()


def _end_of_problem(names: Sequence[bytes], end: int) -> int:
    """The first place from ``end`` on where another problem begins."""
    while 0 < end < len(names) and names[end] == names[end - 1]:
        end += 1
    return end
