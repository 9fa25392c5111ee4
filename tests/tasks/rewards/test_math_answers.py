from __future__ import annotations

from typing import Any

import pytest

from maxent_ray.tasks.rewards.math_answers import math_verify


@pytest.mark.parametrize(
    ("text", "answer", "reward"),
    [
        ("The answer is 12.", 12, 1.0),
        ("6 or 7, so 12", "12", 1.0),
        ("-3", -3, 1.0),
        ("0.5", r"\frac{1}{2}", 1.0),
        ("1,200", 1200, 1.0),
        (r"\boxed{\frac{2}{4}}", "1/2", 1.0),
        ("$x^2 + 2x + 1$", "$(x+1)^2$", 1.0),
        ("13", 12, 0.0),
        ("twelve", 12, 0.0),
        ("", 12, 0.0),
        ("$$$\\frac{", 12, 0.0),
        ("\ud800", 12, 0.0),
        ("$9^{9^{9^9}}$", 12, 0.0),
        ("$" + "(" * 2000 + "$", 12, 0.0),
    ],
)
def test_numbers_and_expressions(text: str, answer: Any, reward: float) -> None:
    assert math_verify([text], [answer]) == [reward]
    assert math_verify([[{"role": "assistant", "content": text}]], [answer]) == [reward]


@pytest.mark.parametrize("text", ["__import__('os').mkdir('made')", "$__import__('os').mkdir('made')$", "print(1)"])
def test_an_answer_is_never_evaluated(
    text: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert math_verify([text], [12]) == [0.0]
    assert not list(tmp_path.iterdir())


def test_a_column_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match="the column answer holds '', in which there is no number or expression"):
        math_verify(["1"], [""])
