"""Generators of reasoning-gym as tasks; the audit of its verifiers is repeated on the installed version."""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import permutations
from textwrap import dedent
from types import FunctionType
from typing import Any

import pytest

from maxent_ray.errors import ConfigError, TaskError
from maxent_ray.tasks import Grade, Prompt, build_task, tells_modes
from maxent_ray.tasks.reasoning_gym import ReasoningGym
from maxent_ray.tasks.reasoning_gym_graders import OWN_GRADERS, REFUSED
from maxent_ray.tasks.row_prompt import row_of

factory = pytest.importorskip("reasoning_gym.factory")
EVALUATING = {"eval", "exec", "compile", "parse_expr", "sympify", "literal_eval", "S"}
READS_OWN_TEXT = {"bitwise_arithmetic": "the problem", "number_sorting": "the right answer"}
"""Verifiers in which such a name is called on something else than the answer."""


def build(name: str, size: int = 40, **kwargs: Any) -> ReasoningGym:
    task = build_task(f"reasoning_gym:{name}", held_out_count=8, seed=3, kwargs={"size": size, **kwargs})
    assert isinstance(task, ReasoningGym)
    return task


def evaluating_calls(name: str) -> set[str]:
    """Calls that evaluate text, in a generator's verifier and in what it calls of its module and class."""
    generator = factory.DATASETS[name][0]
    module, seen, waiting, found = sys.modules[generator.__module__], set(), [generator.score_answer], set()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        for call in ast.walk(ast.parse(dedent(inspect.getsource(function)))):
            if isinstance(call, ast.Call):
                called = ast.unparse(call.func).split(".")[-1]
                found |= {called} & EVALUATING
                others = getattr(generator, called, None), getattr(module, called, None)
                waiting += [each for each in others if isinstance(each, FunctionType)]
    return found


@pytest.mark.parametrize("name", sorted(factory.DATASETS))
def test_no_verifier_that_is_used_evaluates_an_answer(name: str) -> None:
    if name in OWN_GRADERS or name in REFUSED or name in READS_OWN_TEXT:
        return
    assert evaluating_calls(name) == set()


def test_the_audit_sees_those_that_do() -> None:
    assert {name for name in factory.DATASETS if evaluating_calls(name)} == {
        "binary_matrix", "n_queens", "spiral_matrix", "string_insertion", "countdown", "puzzle24",
        "polynomial_multiplication", "simple_integration", "intermediate_integration", *READS_OWN_TEXT,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["countdown", "puzzle24", "n_queens", "spell_backward", "chain_sum", "lcm"])
def test_right_answers_are_right_and_prompts_disjoint(name: str) -> None:
    task = build(name)
    assert not {prompt.text for prompt in task.train} & {prompt.text for prompt in task.held_out}
    for prompt in task.train:
        answer = str(row_of(prompt).columns["answer"])
        grade = task.grade(prompt, f"<answer> {answer} </answer>")
        assert grade.reward == 1.0 and grade.mode is not None
        assert not prompt.modes or grade.mode in prompt.modes
        assert task.grade(prompt, "no answer").mode is None


def test_seeds_repeat_and_differ() -> None:
    texts = [[prompt.text for prompt in build("countdown").train] for _ in range(2)]
    assert texts[0] == texts[1]
    other = build_task("reasoning_gym:countdown", held_out_count=8, seed=4, kwargs={"size": 40})
    assert {prompt.text for prompt in other.train}.isdisjoint(texts[0])


def test_countdown_has_canonical_modes_and_no_eval(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.chdir(tmp_path)
    task = build("countdown", min_numbers=3, max_numbers=3)
    prompt = task.train[0]
    answer = row_of(prompt).columns["answer"]
    assert tells_modes(task)
    assert task.grade(prompt, answer).mode == task.grade(prompt, f"(({answer}))").mode
    assert task.grade(prompt, "__import__('os').mkdir('made')") == Grade(0.0)
    assert not list(tmp_path.iterdir())


def test_queens_list_all_boards() -> None:
    task = build("n_queens", n=5, min_remove=4, max_remove=5, size=300)
    solutions = {
        "\n".join(" ".join("Q" if column == queen else "_" for column in range(5)) for queen in queens)
        for queens in permutations(range(5))
        if len({queen + row for row, queen in enumerate(queens)}) == len({q - r for r, q in enumerate(queens)}) == 5
    }
    prompt = max(task.train, key=lambda prompt: len(prompt.modes))
    given = row_of(prompt).columns["question"].strip().split("\n")[-5:]
    fits = {
        board
        for board in solutions
        if all(mark in ("_", found) for mark, found in zip("\n".join(given), board, strict=True))
    }
    assert len(fits) > 1 and prompt.modes == fits
    assert {task.grade(prompt, board).mode for board in prompt.modes} == prompt.modes
    assert task.grade(prompt, "[['Q']]") == Grade(0.0)


@pytest.mark.parametrize("answer", ["nan", "1e999999999", "inf", "nanj", "9" * 6000, "(" * 3000, "\ud800", ""])
@pytest.mark.parametrize("name", ["complex_arithmetic", "coin_flip", "decimal_arithmetic", "propositional_logic"])
def test_strange_answers_are_wrong(name: str, answer: str) -> None:
    task = build(name, size=10)
    assert task.grade(task.train[0], answer).mode is None


def test_asked_as_a_chat() -> None:
    task = build("spell_backward", chat=True)
    assert task.has_chats
    written = task.written(lambda messages: f"<user>{messages[0]['content']}<assistant>")
    prompt = written.train[0]
    assert prompt.text.startswith("<user>Spell this word backward")
    assert written.grade(prompt, row_of(prompt).columns["answer"]).reward == 1.0


@pytest.mark.parametrize(
    ("name", "kwargs", "sentence"),
    [
        ("contdown", {}, "task.name is 'reasoning_gym:contdown'; generators: ab, "),
        ("simple_integration", {}, "its verifier evaluates answers as Python; choose another generator"),
        ("ransom_note", {}, "its prompts differ from process to process"),
        ("countdown", {"numbers": 3}, "unknown key 'task.kwargs.numbers'. Valid keys here: chat, size, max_numbers"),
        ("countdown", {"min_numbers": 9}, "it refuses min_numbers=9"),
        ("countdown", {"size": 8}, "held_out_count is 8; .* can hold out at most 7 of its 8 prompts"),
    ],
)
def test_what_is_no_task(name: str, kwargs: dict[str, Any], sentence: str) -> None:
    with pytest.raises((ConfigError, TaskError), match=sentence):
        build(name, **kwargs)


def test_a_prompt_of_another_task() -> None:
    with pytest.raises(TaskError, match="which comes from no row of the task"):
        build("countdown").grade(Prompt("3,5,7=22:"), "x")
