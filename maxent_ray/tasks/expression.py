"""Exact arithmetic expressions: a total parser, rational values and canonical forms.

An expression is kept in postfix order, so that nothing here recurses: text of any length and bracket depth is
parsed, or refused, in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeVar

OPERATORS = "+-*/"
_PRECEDENCE = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2}
_NUMBER_BINDING = 3
_TOKEN = re.compile(r" *(?:(?P<number>0|[1-9][0-9]{0,8})(?![0-9])|(?P<mark>[-+*/()])) *")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Expression:
    """A well-formed expression in postfix order: integers, and operators out of `+ - * /`.

    Args:
        postfix: operands before their operator; `(3 - 5) * 7` is `(3, 5, "-", 7, "*")`.

    Example:
        >>> expression = parse("(3-5)*7")
        >>> expression.numbers, expression.value(), expression.canonical()
        ((3, 5, 7), Fraction(-14, 1), '(3-5)*7')
    """

    postfix: tuple[int | str, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The integers, in the order in which they are written."""
        return tuple(token for token in self.postfix if isinstance(token, int))

    def value(self) -> Fraction | None:
        """The exact value, or None where something is divided by zero."""
        try:
            return _fold(self.postfix, Fraction, _apply)
        except ZeroDivisionError:
            return None

    def canonical(self) -> str:
        """The text that this expression shares with everything that takes the same steps.

        Two expressions are the same when they combine the same intermediate results by the same operations:
        when their trees are equal up to swapping the operands of `+` and of `*`. So

        - `7+3*5`, `5*3+7` and `((3*5))+7` are one;
        - regrouping makes another: `3+5+7` first makes 8, `3+7+5` first makes 10, and `9-2+4`, `9+4-2` and
          `9-(2-4)` are three. Nothing is flattened, multiplied out or computed.

        The text puts a compound operand of `+` and `*` before a number, a shorter one before a longer,
        equally long ones in alphabetical order, and uses the fewest brackets. It is its own canonical form.

        Example:
            >>> [parse(text).canonical() for text in ("7+3*5", "2*(5+3)", "3+(7+5)", "5+3+7", "9-(2-4)")]
            ['3*5+7', '(3+5)*2', '5+7+3', '3+5+7', '9-(2-4)']
        """
        return _fold(self.postfix, _Node.of_number, _Node.join).text


def parse(text: str) -> Expression | None:
    """Read `text` as an expression; None when it isn't one.

    Integers (no leading zero, nine digits at most), `+ - * /` with the usual precedence, grouped from the
    left, round brackets, and spaces between tokens. There is no unary minus or plus, and no implied
    multiplication.

    Example:
        >>> parse("3+5*7").postfix
        (3, 5, 7, '*', '+')
        >>> [parse(text) for text in ("", "-3", "3+", "(3", "03", "3(5)")]
        [None, None, None, None, None, None]
    """
    tokens = _tokenize(text)
    postfix = None if tokens is None else _to_postfix(tokens)
    return None if postfix is None else Expression(tuple(postfix))


def _tokenize(text: str) -> list[int | str] | None:
    tokens: list[int | str] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        tokens.append(int(match["number"]) if match["number"] else match["mark"])
        position = match.end()
    return tokens


def _to_postfix(tokens: list[int | str]) -> list[int | str] | None:
    """Dijkstra's shunting yard, with the alternation of operands and operators checked as it goes."""
    output: list[int | str] = []
    pending: list[str] = []
    operand_due = True
    for token in tokens:
        if isinstance(token, int) or token == "(":
            if not operand_due:
                return None
            if isinstance(token, int):
                output.append(token)
                operand_due = False
            else:
                pending.append(token)
        elif operand_due:
            return None
        elif token == ")":
            while pending and pending[-1] != "(":
                output.append(pending.pop())
            if not pending:
                return None
            pending.pop()
        else:
            while pending and _PRECEDENCE[pending[-1]] >= _PRECEDENCE[token]:
                output.append(pending.pop())
            pending.append(token)
            operand_due = True
    if operand_due or "(" in pending:
        return None
    return output + pending[::-1]


def _fold(postfix: tuple[int | str, ...], leaf: Callable[[int], _T], join: Callable[[str, _T, _T], _T]) -> _T:
    stack: list[_T] = []
    for token in postfix:
        if isinstance(token, int):
            stack.append(leaf(token))
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(join(token, left, right))
    return stack.pop()


def _apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left / right


class _Node(NamedTuple):
    """A subexpression in canonical form, and how tightly its outer operator binds (a number: most)."""

    text: str
    binding: int

    @classmethod
    def of_number(cls, number: int) -> _Node:
        return cls(str(number), _NUMBER_BINDING)

    @classmethod
    def join(cls, operator: str, left: _Node, right: _Node) -> _Node:
        if operator in "+*":
            left, right = sorted((left, right), key=_Node._rank)
        binding = _PRECEDENCE[operator]
        # On the right, equal binding keeps its brackets, for `+` and `*` too: grouping is part of the mode.
        return cls(f"{left._inside(binding - 1)}{operator}{right._inside(binding)}", binding)

    def _rank(self) -> tuple[bool, int, str]:
        return self.binding == _NUMBER_BINDING, len(self.text), self.text

    def _inside(self, binding: int) -> str:
        return self.text if self.binding > binding else f"({self.text})"
