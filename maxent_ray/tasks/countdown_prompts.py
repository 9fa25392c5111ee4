"""All prompts of Countdown with their modes, by enumeration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import NamedTuple

from maxent_ray.tasks.base import Prompt
from maxent_ray.tasks.expression import Expression

MODES_PER_PROMPT = range(2, 9)


@dataclass(frozen=True)
class Ranges:
    """Numbers and targets that prompts are made of."""

    numbers: range
    targets: range


class _Part(NamedTuple):
    """Subexpression in postfix order, and its exact value; the denominator may be negative, never 0."""

    postfix: tuple[int | str, ...]
    numerator: int
    denominator: int


@cache
def all_prompts(ranges: Ranges) -> tuple[Prompt, ...]:
    """Every prompt with two to eight modes, by its numbers and then its target (built once per process).

    Example:
        >>> len(all_prompts(Ranges(numbers=range(2, 13), targets=range(1, 37))))
        957
    """
    found = []
    for numbers in combinations(ranges.numbers, 3):
        ways = _ways(numbers, ranges.targets)
        question = ",".join(map(str, numbers))
        found += [
            Prompt(f"{question}={target}:", _modes(ways[target]))
            for target in ranges.targets
            if len(ways[target]) in MODES_PER_PROMPT
        ]
    return tuple(found)


def solutions(numbers: tuple[int, ...], targets: range) -> dict[int, frozenset[str]]:
    """All modes for every target, by trying every expression over three numbers.

    Example:
        >>> sorted(solutions((3, 5, 7), range(1, 37))[22])
        ['3*5+7']
    """
    ways = _ways(numbers, targets)
    return {target: _modes(ways[target]) for target in targets}


def _modes(ways: list[tuple[int | str, ...]]) -> frozenset[str]:
    return frozenset(Expression(postfix).canonical() for postfix in ways)


def _ways(numbers: tuple[int, ...], targets: range) -> defaultdict[int, list[tuple[int | str, ...]]]:
    """Postfix expressions for each target, one for each mode.

    Two numbers are joined first, and their result with the third: 3 · 6 · 6 expressions, in integers rather than in
    fractions, because they are made anew in every process of a run.
    """
    first, second, third = (_Part((number,), number, 1) for number in numbers)
    ways: defaultdict[int, list[tuple[int | str, ...]]] = defaultdict(list)
    for left, right, last in ((first, second, third), (first, third, second), (second, third, first)):
        for pair in _joined(left, right):
            for postfix, numerator, denominator in _joined(pair, last):
                value, remainder = divmod(numerator, denominator)
                if not remainder and value in targets:
                    ways[value].append(postfix)
    return ways


def _joined(left: _Part, right: _Part) -> Iterator[_Part]:
    """Two parts joined by each operator, in both orders where the order makes another mode."""
    (p, a, b), (q, c, d) = left, right
    yield _Part((*p, *q, "+"), a * d + b * c, b * d)
    yield _Part((*p, *q, "*"), a * c, b * d)
    yield _Part((*p, *q, "-"), a * d - b * c, b * d)
    yield _Part((*q, *p, "-"), b * c - a * d, b * d)
    if c:
        yield _Part((*p, *q, "/"), a * d, b * c)
    if a:
        yield _Part((*q, *p, "/"), b * c, a * d)
