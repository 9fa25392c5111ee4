"""Countdown: reach the target with three numbers, each used exactly once."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, permutations, product

from maxent_ray.errors import TaskError
from maxent_ray.tasks.base import Grade, Prompt
from maxent_ray.tasks.expression import OPERATORS, Expression, parse

NUMBERS = range(2, 13)
TARGETS = range(1, 37)
MODES_PER_PROMPT = range(2, 9)
END_MARK = "$"
_PROMPT = re.compile(r"([0-9]{1,9}(?:,[0-9]{1,9})*)=([0-9]{1,9}):")


class Countdown:
    """Three distinct numbers out of 2 … 12 and a target out of 1 … 36, with two to eight ways to reach it.

    A prompt reads `3,5,7=22:` (numbers in rising order); a completion is an expression that ends at the first
    `$`. It is right when it uses each number exactly once and equals the target in rational arithmetic. Its
    mode is its `Expression.canonical()` text: the steps taken, however sums and products are written down.
    Every mode is itself a right completion.

    Args:
        held_out_count: number of prompts for evaluation; the rest is for training.
        seed: of the split. With the same seed, a larger `held_out_count` adds to what a smaller one has.

    Raises:
        TaskError: `held_out_count` leaves nothing to train on or nothing to evaluate.

    Example:
        >>> task = Countdown(held_out_count=128)
        >>> task.grade(Prompt("3,5,7=22:"), "7+5*3$")
        Grade(reward=1.0, mode='3*5+7')
        >>> task.grade(Prompt("3,5,7=22:"), "7+5+3$")
        Grade(reward=0.0, mode=None)
    """

    name = "countdown"
    tells_modes = True

    def __init__(self, held_out_count: int = 256, seed: int = 0) -> None:
        """Split all prompts into training and held-out ones."""
        prompts = sorted(all_prompts(), key=lambda prompt: _split_key(prompt.text, seed))
        if not 1 <= held_out_count < len(prompts):
            raise TaskError(
                f"held_out_count is {held_out_count}; countdown has {len(prompts)} prompts in all, "
                f"so it must be between 1 and {len(prompts) - 1}"
            )
        self.held_out: Sequence[Prompt] = tuple(prompts[:held_out_count])
        self.train: Sequence[Prompt] = tuple(prompts[held_out_count:])

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


@cache
def all_prompts() -> tuple[Prompt, ...]:
    """Every prompt with two to eight modes, by its numbers and then its target (built once per process)."""
    found = []
    for numbers in combinations(NUMBERS, 3):
        modes = solutions(numbers)
        question = ",".join(map(str, numbers))
        found += [
            Prompt(f"{question}={target}:", modes[target])
            for target in TARGETS
            if len(modes[target]) in MODES_PER_PROMPT
        ]
    return tuple(found)


def solutions(numbers: tuple[int, int, int]) -> dict[int, frozenset[str]]:
    """All modes for every target in 1 … 36, by trying every expression over `numbers`.

    Example:
        >>> sorted(solutions((3, 5, 7))[22])
        ['3*5+7']
    """
    modes: defaultdict[int, set[str]] = defaultdict(set)
    for expression in _expressions(numbers):
        value = expression.value()
        if value is not None and value.denominator == 1 and value.numerator in TARGETS:
            modes[value.numerator].add(expression.canonical())
    return {target: frozenset(modes[target]) for target in TARGETS}


def _expressions(numbers: tuple[int, int, int]) -> Iterator[Expression]:
    for (a, b, c), (first, second) in product(permutations(numbers), product(OPERATORS, repeat=2)):
        yield Expression((a, b, first, c, second))
        yield Expression((a, b, c, first, second))


def _split_key(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"countdown:{seed}:{text}".encode()).digest()


def _read_prompt(text: str) -> tuple[list[int], int]:
    match = _PROMPT.fullmatch(text)
    if match is None:
        raise TaskError(f"prompt is {text!r}; a countdown prompt reads like '3,5,7=22:'")
    return sorted(map(int, match[1].split(","))), int(match[2])
