"""Tasks: prompts, a grader, and batches that depend on the seed and the step alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeAlias, runtime_checkable

from maxent_ray.errors import TaskError

Message: TypeAlias = Mapping[str, str]
"""Turn of a chat: its ``role`` and its ``content``."""


@dataclass(frozen=True)
class Prompt:
    """One question.

    Args:
        text: given to the policy.
        modes: all correct solutions in canonical form; empty for a task that cannot list them.
    """

    text: str
    modes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Grade:
    """The verdict on one completion.

    Args:
        reward: a finite number, more for a better answer; 0 to 1 for the built-in tasks.
        mode: the canonical form of a correct completion, None for a wrong one.
    """

    reward: float
    mode: str | None = None


@runtime_checkable
class Task(Protocol):
    """Prompts for training, prompts for evaluation, and a grader of completions."""

    @property
    def name(self) -> str:
        """The name that configs and results use."""
        ...

    @property
    def train(self) -> Sequence[Prompt]:
        """Prompts for training."""
        ...

    @property
    def held_out(self) -> Sequence[Prompt]:
        """Prompts for evaluation; none of them is in `train`."""
        ...

    def grade(self, prompt: Prompt, completion: str) -> Grade:
        """Grade the completion of `prompt`; defined for every string."""
        ...


@runtime_checkable
class ModeTask(Task, Protocol):
    """A task that says whether its grader names the mode of every correct completion."""

    @property
    def tells_modes(self) -> bool:
        """True when it does: then ``mode_entropy`` can be measured."""
        ...


@runtime_checkable
class BatchTask(Task, Protocol):
    """A task that grades whole batches, as reward functions do."""

    def grade_batch(self, prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Grade]:
        """Grade one completion of each prompt; a prompt with several is given as often."""
        ...


@runtime_checkable
class ChatTask(Task, Protocol):
    """A task whose prompts may be chats, which become text by the chat template of the policy's tokenizer."""

    @property
    def has_chats(self) -> bool:
        """True when they are: then they must be written before they are asked."""
        ...

    def written(self, write: Callable[[Sequence[Message]], str]) -> Task:
        """The same task with every chat written as text."""
        ...


def tells_modes(task: Task) -> bool:
    """True for a task that tells the modes of its answers; one that does not say so tells none.

    Example:
        >>> from maxent_ray.tasks import Countdown
        >>> tells_modes(Countdown())
        True
    """
    return isinstance(task, ModeTask) and task.tells_modes


def draw(prompts: Sequence[Prompt], count: int, *, seed: int, step: int) -> list[Prompt]:
    """The batch of training step `step`: a function of its arguments alone, so that resuming needs no cursor.

    Epoch `step // (n // count)` shuffles the n prompts again and draws them without replacement. The n mod
    count prompts left at an epoch's end are skipped (others in every epoch): no batch holds a prompt twice.

    Args:
        prompts: the training prompts; the same, in the same order, at every step.
        count: prompts per batch.
        seed: of the shuffles.
        step: from 0.

    Raises:
        TaskError: `prompts` is empty, `count` is not between 1 and their number, or `step` is negative.

    Example:
        >>> prompts = [Prompt(text) for text in "abcd"]
        >>> epoch = draw(prompts, 2, seed=0, step=0) + draw(prompts, 2, seed=0, step=1)
        >>> sorted(prompt.text for prompt in epoch)
        ['a', 'b', 'c', 'd']
    """
    if not prompts:
        raise TaskError(f"count is {count}; the task has no prompts to draw from")
    if not 1 <= count <= len(prompts):
        raise TaskError(
            f"count is {count}; it must be between 1 and {len(prompts)}, the number of prompts of the task"
        )
    if step < 0:
        raise TaskError(f"step is {step}; it must be >= 0")
    epoch, place = divmod(step, len(prompts) // count)
    order = _shuffled(len(prompts), seed, epoch)
    return [prompts[index] for index in order[place * count : (place + 1) * count]]


@lru_cache(maxsize=8)
def _shuffled(length: int, seed: int, epoch: int) -> tuple[int, ...]:
    # A text seed goes through SHA-512: neighbouring seeds and epochs give unrelated orders, in every process.
    order = list(range(length))
    random.Random(f"{seed}:{epoch}").shuffle(order)
    return tuple(order)


def rank_share(prompts: Sequence[Prompt], rank: int, world_size: int) -> list[Prompt]:
    """Every `world_size`-th prompt from `rank` on; the shares of all ranks are disjoint and cover the batch.

    Shares differ by one prompt at most, and are equal when `world_size` divides the batch.

    Raises:
        TaskError: `rank` is outside 0 … world_size - 1, or there are fewer prompts than ranks.

    Example:
        >>> [prompt.text for prompt in rank_share([Prompt(text) for text in "abcde"], 1, 2)]
        ['b', 'd']
    """
    if not 0 <= rank < world_size:
        raise TaskError(
            f"rank is {rank}; with world_size {world_size} it must be between 0 and {world_size - 1}"
        )
    if len(prompts) < world_size:
        raise TaskError(
            f"{len(prompts)} prompts are too few for {world_size} ranks: each needs at least 1"
        )
    return list(prompts[rank::world_size])
