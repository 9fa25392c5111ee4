"""Whatever a policy writes is read as text: never run, never an error; time and memory grow as the text does."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maxent_ray.tasks import Prompt
from maxent_ray.tasks.base import Grade
from maxent_ray.tasks.countdown import CountdownSmall
from maxent_ray.tasks.expression import Expression, parse

TASK = CountdownSmall(held_out_count=8)
PROMPT = Prompt("3,5,7=22:")
WRONG = Grade(0.0)
NEARLY = st.text(alphabet="0123456789+-*/() $._eEjJxX^%!@~&|<>=,:;'\"\\[]{}\n\t\0٣²Ⅷ７−×÷（）", max_size=60)
"""Characters that mean something to some parser: digits of other scripts, operators that look like ours, quotes."""


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=60), NEARLY))
@example("3*5+7")
@example("7+5*3$and more")
@example("\ud800")
@example("9" * 5000)  # longer than Python turns into an integer at all
def test_any_text_is_graded(text: str) -> None:
    grade = TASK.grade(PROMPT, text)
    answer = text.split("$", 1)[0]
    assert grade == WRONG or (grade.reward == 1.0 and set(answer) <= set("357+* ()"))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').mkdir({mark!r})",
        "(lambda: __import__('os').mkdir({mark!r}))()",
        "3*5+7 if __import__('os').mkdir({mark!r}) else 22",
        "3*5+7;__import__('os').mkdir({mark!r})",
        "{{3*5+7}}${{__import__('os').mkdir({mark!r})}}",
        "3*5+7\n__import__('os').mkdir({mark!r})",
        "[3*5+7 for _ in [__import__('os').mkdir({mark!r})]]",
        "!mkdir {mark}",
        "$(mkdir {mark})",
    ],
)
def test_programs_are_not_run(text: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert TASK.grade(PROMPT, text.format(mark=str(mark))) == WRONG
    assert not mark.exists()


@pytest.mark.parametrize("digits", ["٣*٥+٧", "３*５+７", "³*5+7", "3*5+Ⅶ", "3*5+７", "𝟛*5+7"])
def test_digits_of_other_scripts_are_no_digits(digits: str) -> None:
    """``int`` would read most of them."""
    assert parse(digits) is None


@pytest.mark.parametrize("text", ["9**9**9", "9^99", "9e999999999", "1E9", "9!", "1_0", "0x7", "1j", "9<<9999", "∞"])
def test_there_is_no_way_to_write_a_huge_number_shortly(text: str) -> None:
    assert parse(text) is None


HUGE = {
    "deep": lambda n: "(" * n + "7" + ")" * n,
    "unclosed": lambda n: "(" * n,
    "closed too often": lambda n: "7" + ")" * n,
    "long": lambda n: "7" + "+7" * n,
    "a product": lambda n: "999999999" + "*999999999" * n,
    "a tower of fractions": lambda n: "7" + "/(7" * n + ")" * n,
    "digits": lambda n: "9" * n,
    "zeros": lambda n: "0" * n,
    "spaces": lambda n: " " * n,
    "spaces before a stranger": lambda n: "7" + " " * n + "x",
    "operators": lambda n: "-" * n,
    "right, then endless": lambda n: "3*5+7$" + "(" * n,
    "brackets around a right one": lambda n: "(" * n + "3*5+7" + ")" * n,
}


@pytest.mark.parametrize("name", HUGE)
def test_time_and_memory_grow_as_the_text_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are counted, not timed. Doubling the text at most doubles both; no more than 200 bytes a character."""

    def untouched(self: Expression) -> None:
        raise AssertionError("evaluated, although it uses other numbers than the prompt's")

    if "right" not in name:
        monkeypatch.setattr(Expression, "value", untouched)
    short, long = (HUGE[name](n) for n in (5_000, 10_000))
    steps, memory = zip(cost(short), cost(long), strict=True)
    assert steps[1] <= 2.1 * steps[0] + 100
    assert memory[1] <= 200 * len(long) + 100_000


def cost(text: str) -> tuple[int, int]:
    """Calls made and bytes taken to grade a text."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    tracemalloc.start()
    sys.setprofile(count)
    try:
        TASK.grade(PROMPT, text)
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return calls, peak


def test_an_answer_of_a_megabyte_is_read() -> None:
    assert TASK.grade(PROMPT, "(" * 500_000 + "3*5+7" + ")" * 500_000) == Grade(1.0, "3*5+7")
    assert TASK.grade(PROMPT, "9*" * 500_000 + "9") == WRONG
