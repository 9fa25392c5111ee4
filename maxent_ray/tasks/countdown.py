"""Countdown: reach the target with three numbers, each used exactly once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from maxent_ray.errors import TaskError
from maxent_ray.tasks.base import Grade, Prompt
from maxent_ray.tasks.countdown_prompts import Ranges, all_prompts
from maxent_ray.tasks.expression import parse
from maxent_ray.tasks.split import Reserved, split_prompts

END_MARK = "$"
_PROMPT = re.compile(r"([0-9]{1,9}(?:,[0-9]{1,9})*)=([0-9]{1,9}):")


class Countdown:
    """Three distinct numbers out of 2 … 20 and a target out of 1 … 60, with two to eight ways to reach it.

    A prompt reads `3,5,7=22:` (numbers in rising order); a completion is an expression that ends at the first
    `$`. It is right when it uses each number exactly once and equals the target in rational arithmetic. Its
    mode is its `Expression.canonical()` text: the steps taken, however sums and products are written down.
    Every mode is itself a right completion. There are 4,941 prompts: 512 to hold out, 1,000 for the shipped
    policy's supervised warm start, and 3,429 for training.

    Args:
        held_out_count: number of prompts for evaluation.
        seed: of the split. With the same seed, a larger `held_out_count` adds to what a smaller one has, and
            the prompts for training are the same.

    Raises:
        TaskError: `held_out_count` leaves nothing to evaluate, or is more than the task can hold out.

    Example:
        >>> task = Countdown(held_out_count=128)
        >>> len(task.held_out), len(task.warm_start), len(task.train)
        (128, 1000, 3429)
        >>> task.grade(Prompt("3,5,7=22:"), "7+5*3$")
        Grade(reward=1.0, mode='3*5+7')
        >>> task.grade(Prompt("3,5,7=22:"), "7+5+3$")
        Grade(reward=0.0, mode=None)
    """

    name: str = "countdown"
    tells_modes = True
    ranges: ClassVar[Ranges] = Ranges(numbers=range(2, 21), targets=range(1, 61))
    reserved: ClassVar[Reserved | None] = Reserved(held_out=512, warm_start=1000)

    def __init__(self, held_out_count: int = 256, seed: int = 0) -> None:
        """Split all prompts into held-out ones, those of the warm start, and those for training."""
        prompts = all_prompts(self.ranges)
        salt = f"countdown:{seed}"
        split = split_prompts(self.name, prompts, self.reserved, held_out_count=held_out_count, salt=salt)
        self.held_out: Sequence[Prompt] = split.held_out
        self.warm_start: Sequence[Prompt] = split.warm_start
        self.train: Sequence[Prompt] = split.train

    def grade(self, prompt: Prompt, completion: str) -> Grade:
        """1 for a right expression before the first `$` (or before the end of the text), else 0.

        Raises:
            TaskError: `prompt` is not a Countdown prompt. No completion raises.
        """
        numbers, target = _read_prompt(prompt.text)
        expression = parse(completion.split(END_MARK, 1)[0])
        # Numbers first: this bounds the size of the expression that is evaluated.
        if expression is None or sorted(expression.numbers) != numbers or expression.value() != target:
            return Grade(0.0)
        return Grade(1.0, expression.canonical())


class CountdownSmall(Countdown):
    """Countdown with numbers out of 2 … 12 and targets out of 1 … 36: 957 prompts, for fast tests.

    Its policy was warm-started on the prompts for training (with 256 held out), so training hardly transfers.

    Example:
        >>> task = CountdownSmall(held_out_count=128)
        >>> len(task.held_out), len(task.train), task.warm_start == task.train
        (128, 829, True)
    """

    name = "countdown_small"
    ranges = Ranges(numbers=range(2, 13), targets=range(1, 37))
    reserved = None


def _read_prompt(text: str) -> tuple[list[int], int]:
    match = _PROMPT.fullmatch(text)
    if match is None:
        raise TaskError(f"prompt is {text!r}; a countdown prompt reads like '3,5,7=22:'")
    return sorted(map(int, match[1].split(","))), int(match[2])
