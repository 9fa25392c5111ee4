from __future__ import annotations

import ast
import operator
import random
from collections.abc import Callable
from fractions import Fraction

import pytest

from maxent_ray.tasks.expression import Expression, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", Fraction(7)),
        ("3+5*7", Fraction(38)),
        ("(3+5)*7", Fraction(56)),
        ("9-4-2", Fraction(3)),  # grouped from the left
        ("9-(4-2)", Fraction(7)),
        ("8/4/2", Fraction(1)),
        ("8/(4/2)", Fraction(4)),
        ("12/8*2", Fraction(3)),
        ("1/3", Fraction(1, 3)),  # exact: no rounding
        ("3-5", Fraction(-2)),
        ("((3))", Fraction(3)),
        (" 3 + 5 ", Fraction(8)),
        ("0*5", Fraction(0)),
        ("3/0", None),
        ("3/(5-5)", None),
        ("0/0", None),
    ],
)
def test_values_by_hand(text: str, value: Fraction | None) -> None:
    expression = parse(text)
    assert expression is not None
    assert expression.value() == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "+",
            "()",
            "-3",
            "+3",
            "(-3)",
            "3*-5",
            "3+",
            "3+*5",
            "3++5",
            "*3",
            "3(5)",
            "(3)(5)",
            "(3)5",
        ),
        *(
            "3 5",
            "1 2+3",
            "(3",
            "3)",
            ")3(",
            "(3+5",
            "3+5)",
            "03+5",
            "00",
            "3.5",
            "3,5",
            "3^5",
            "3**5",
            "3//5",
        ),
        *(
            "=8",
            "3+5=8",
            "$",
            "3+5$",
            "x",
            "3+5\n",
            "3\t+5",
            "3x5",
            "٣+5",
            "²",
            "3−5",
            "9" * 10,
            "\0",
            "None",
        ),
    ],
)
def test_refuses_what_is_no_expression(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("depth", [10, 100_000])
def test_neither_depth_nor_length_breaks_the_parser(depth: int) -> None:
    assert parse("(" * depth + "7" + ")" * depth) == Expression((7,))
    assert parse("(" * depth) is None
    assert parse("9" * depth) is None
    chain = parse("1" + "+1" * depth)
    assert chain is not None
    assert chain.value() == depth + 1
    nested = parse("(1+" * depth + "1" + ")" * depth)
    assert nested is not None
    assert nested.value() == depth + 1


def test_total_on_random_text_and_agrees_with_python() -> None:
    """Python's own grammar is the oracle for random strings over the alphabet: same verdict, same value."""
    rng = random.Random(0)
    accepted = 0
    for _ in range(20_000):
        text = "".join(rng.choices("0123456789+-*/() ", k=rng.randint(1, 9)))
        expression = parse(text)
        expected = _python_value(text)
        if expression is None:
            assert expected == "refused", text
        else:
            accepted += 1
            assert expression.value() == expected, text
    assert accepted > 1000


@pytest.mark.parametrize(
    "family",
    [
        ["3*5+7", "5*3+7", "7+3*5", "7+(5*3)", "((7)+(3*5))", " 7 + 3*5 "],
        ["(3+5)*7", "7*(5+3)", "(7)*((3)+5)"],
        ["3+5+7", "5+3+7", "7+(3+5)", "(5+3)+7"],
        ["3+7+5", "5+(3+7)"],
        ["5+7+3", "3+(7+5)"],
        ["9-2+4", "4+(9-2)", "(9-2)+4"],
        ["4+9-2", "(9+4)-2"],
        ["9-(2-4)"],
        ["8/4*2", "2*(8/4)"],
        ["2*8/4", "8*2/4"],
        ["8/(4/2)"],
        ["3*5*7", "7*(5*3)"],
        ["(3-5)*7", "7*(3-5)"],
        ["(5-3)*7"],
    ],
)
def test_families_of_one_mode(family: list[str]) -> None:
    """The first of each family is the canonical text of all; regrouping makes another mode."""
    assert [_canonical(text) for text in family] == [family[0]] * len(family)


def test_canonical_text_equals_itself_and_keeps_the_value() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        expression = _random_expression(rng, leaves=rng.randint(1, 6))
        text = expression.canonical()
        again = parse(text)
        assert again is not None
        assert again.canonical() == text
        assert again.value() == expression.value()
        assert sorted(again.numbers) == sorted(expression.numbers)


def test_canonical_text_ignores_commutation_and_brackets() -> None:
    rng = random.Random(2)
    for _ in range(1000):
        expression = _random_expression(rng, leaves=rng.randint(2, 6))
        assert _canonical(_write_at_random(expression, rng)) == expression.canonical()


def test_canonical_texts_are_equal_only_when_the_trees_are() -> None:
    """Oracle: nested frozensets, which know nothing of text."""
    rng = random.Random(3)
    tree_of: dict[str, object] = {}
    for _ in range(5000):
        expression = _random_expression(rng, leaves=4)
        tree = _tree(expression)
        assert tree_of.setdefault(expression.canonical(), tree) == tree
    assert len(set(tree_of.values())) == len(tree_of)


def _write_at_random(expression: Expression, rng: random.Random) -> str:
    """The expression with operands of + and * swapped at random, every step in brackets, some spaces."""
    stack: list[str] = []
    for token in expression.postfix:
        if isinstance(token, int):
            stack.append(rng.choice([str(token), f"({token})", f" {token} "]))
            continue
        right, left = stack.pop(), stack.pop()
        if token in ("+", "*") and rng.random() < 0.5:
            left, right = right, left
        stack.append(f"({left}{token}{right})")
    return stack.pop()


def _canonical(text: str) -> str:
    expression = parse(text)
    assert expression is not None
    return expression.canonical()


def _random_expression(rng: random.Random, leaves: int) -> Expression:
    if leaves == 1:
        return Expression((rng.randint(1, 12),))
    left = rng.randint(1, leaves - 1)
    parts = _random_expression(rng, left).postfix + _random_expression(rng, leaves - left).postfix
    return Expression((*parts, rng.choice("+-*/")))


def _tree(expression: Expression) -> object:
    stack: list[object] = []
    for token in expression.postfix:
        if isinstance(token, int):
            stack.append(token)
        else:
            right, left = stack.pop(), stack.pop()
            operands = (
                (left, right)
                if token in ("-", "/")
                else frozenset([(left, left == right), (right, left == right)])
            )
            stack.append((token, operands))
    return stack.pop()


_OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _python_value(text: str) -> Fraction | str | None:
    """The value by Python's parser, None on a division by zero, "refused" outside of our grammar."""
    try:
        return _walk(ast.parse(text.strip(" "), mode="eval").body)
    except ZeroDivisionError:
        return None
    except (SyntaxError, LookupError, TypeError):
        return "refused"


def _walk(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant):
        # Python reads "00" as zero; ours has no leading zeros. Floats cannot occur.
        if node.end_col_offset is None or node.end_col_offset - node.col_offset != len(str(node.value)):
            raise TypeError("leading zero")
        return Fraction(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.BinOp):
        left, right = _walk(node.left), _walk(node.right)
        return _OPERATIONS[type(node.op)](left, right)
    raise TypeError("a call, a tuple or a sign")
