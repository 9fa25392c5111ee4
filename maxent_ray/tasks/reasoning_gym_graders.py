"""Generators of reasoning-gym whose own verifier cannot be used, and graders for most of them.

Audited: all 106 generators of reasoning-gym 0.1.25. ``eval`` reads answers to binary_matrix, n_queens, spiral_matrix
and string_insertion; ``sympy.parse_expr``, which evaluates too, those to countdown, puzzle24,
polynomial_multiplication, simple_integration and intermediate_integration. The verifier of game_of_life_halting takes
any text for True.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from maxent_ray.tasks.base import Grade
from maxent_ray.tasks.expression import parse

_SIGN = re.compile(r"(^\s*|\(\s*)-")
_EVALUATES = "its verifier evaluates answers as Python"
_VARIES = "its prompts differ from process to process, so that no run could be resumed"
REFUSED: Mapping[str, str] = {
    "polynomial_multiplication": _EVALUATES,
    "simple_integration": _EVALUATES,
    "intermediate_integration": _EVALUATES,
    "isomorphic_strings": _VARIES,
    "list_functions": _VARIES,
    "ransom_note": _VARIES,
    "composite": "it mixes generators, of which some evaluate answers as Python",
}
"""Generator → why it is no task."""


class OwnGrader(NamedTuple):
    """A grader that names modes, and the modes of an entry where they can be listed."""

    grade: Callable[[str, Mapping[str, Any]], Grade]
    modes: Callable[[Mapping[str, Any]], frozenset[str]]


def grade_expression(answer: str, numbers: Sequence[int], target: int) -> Grade:
    """1 for an expression that uses each number exactly once and equals the target, else 0.

    A minus at the beginning of an expression, or of a bracket, subtracts from 0.

    Example:
        >>> grade_expression("10*(8 - 5) - 6", [8, 5, 10, 6], 24)
        Grade(reward=1.0, mode='(8-5)*10-6')
        >>> grade_expression("-6 + 10*(8 - 5)", [8, 5, 10, 6], 24)
        Grade(reward=1.0, mode='0-6+(8-5)*10')
    """
    written, signs = _SIGN.subn(r"\g<1>0-", answer)
    expression = parse(written)
    # Numbers first: this bounds the size of the expression that is evaluated.
    if expression is None or sorted(expression.numbers) != sorted([*numbers, *[0] * signs]):
        return Grade(0.0)
    if expression.value() != target:
        return Grade(0.0)
    return Grade(1.0, expression.canonical())


def grade_listed(answer: str, modes: frozenset[str]) -> Grade:
    """1 for one of the right answers, without white space around it, else 0.

    Example:
        >>> grade_listed(" ab ", frozenset({"ab", "ba"}))
        Grade(reward=1.0, mode='ab')
    """
    return Grade(1.0, answer.strip()) if answer.strip() in modes else Grade(0.0)


def only_answer(entry: Mapping[str, Any]) -> frozenset[str]:
    """The one right answer of an entry."""
    return frozenset({entry["answer"].strip()})


def _boards(entry: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(board.strip() for board in entry["metadata"]["valid_answers"])


def _none(entry: Mapping[str, Any]) -> frozenset[str]:
    return frozenset()


ONE_ANSWER = OwnGrader(lambda answer, entry: grade_listed(answer, only_answer(entry)), only_answer)
OWN_GRADERS: Mapping[str, OwnGrader] = {
    "countdown": OwnGrader(
        lambda answer, entry: grade_expression(answer, entry["metadata"]["numbers"], entry["metadata"]["target"]), _none
    ),
    "puzzle24": OwnGrader(lambda answer, entry: grade_expression(answer, entry["metadata"]["numbers"], 24), _none),
    "n_queens": OwnGrader(lambda answer, entry: grade_listed(answer, _boards(entry)), _boards),
    "binary_matrix": ONE_ANSWER,
    "spiral_matrix": ONE_ANSWER,
    "string_insertion": ONE_ANSWER,
    "game_of_life_halting": ONE_ANSWER,
}
"""Generator → grader in place of its verifier."""
