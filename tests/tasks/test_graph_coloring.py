from __future__ import annotations

import subprocess
import sys
from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxent_ray.errors import TaskError
from maxent_ray.policy.tokenizer import COUNTDOWN_CHARACTERS
from maxent_ray.tasks import Grade, GraphColoring, Prompt, build_task
from maxent_ray.tasks.graph_coloring import END_MARK, MODES_PER_PROMPT, all_prompts

PROMPT = Prompt("12,13,23,34,45,46,56=1...2.:")
TASK = GraphColoring()


def test_a_prompt_by_hand() -> None:
    # 2 and 3 have colours 2 and 3 in either order, and 4 and 6 have 1 and 3: 4 differs from 3.
    modes = {prompt.text: prompt.modes for prompt in all_prompts()}["12,13,23,34,45,46,56=1...2.:"]
    assert modes == {"123123", "132123", "132321"}


def test_an_independent_count_of_all_modes_agrees() -> None:
    """Oracle: every string of the three colours, read against the text of the prompt."""
    for prompt in all_prompts()[::97]:
        edges, given_colours = prompt.text.rstrip(":").split("=")
        right = {
            "".join(colours)
            for colours in product("123", repeat=len(given_colours))
            if all(mark in (".", colour) for mark, colour in zip(given_colours, colours, strict=True))
            and all(colours[int(edge[0]) - 1] != colours[int(edge[1]) - 1] for edge in edges.split(","))
        }
        assert prompt.modes == right, prompt


def test_the_pool_of_prompts() -> None:
    prompts = all_prompts()
    assert (len(prompts), len({prompt.text for prompt in prompts})) == (5517, 5517)
    assert sum(len(prompt.modes) for prompt in prompts) == 22_002
    assert {len(prompt.modes) for prompt in prompts} == set(MODES_PER_PROMPT)
    assert set().union(*(prompt.text for prompt in prompts)) <= set(COUNTDOWN_CHARACTERS)
    assert max(len(prompt.text) for prompt in prompts) == 28


def test_every_mode_is_a_right_completion() -> None:
    for prompt in all_prompts()[::11]:
        for mode in prompt.modes:
            assert TASK.grade(prompt, mode) == TASK.grade(prompt, f" {mode}{END_MARK}123") == Grade(1.0, mode)


@pytest.mark.parametrize(
    "completion",
    [
        "",
        END_MARK,
        f"{END_MARK}123123",
        "123323",  # 3 and 4, and 4 and 6
        "223123",  # node 1 is not 2
        "123133",  # node 5 is not 3
        "12312",
        "1231231",
        "1...2.",
        "12312４",
        "１２３１２３",
        "1 2 3 1 2 3",
        "1" * 5000,
        "\ud800",
    ],
)
def test_wrong_completions(completion: str) -> None:
    assert TASK.grade(PROMPT, completion) == Grade(0.0)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=20), st.text(alphabet="123.$ ", max_size=8)))
def test_any_text_is_graded(text: str) -> None:
    answer = text.split(END_MARK, 1)[0].strip()
    expected = Grade(1.0, answer) if answer in ("123123", "132123", "132321") else Grade(0.0)
    assert TASK.grade(PROMPT, text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "3,5,7=22:", "12=1.", "12=1.4:", "=1.:", "12,=1.:", "17=1...2.:", "12,45=1.2:", "02=1.:", "12=1.:\n"],
)
def test_a_prompt_of_another_task_is_an_error(text: str) -> None:
    with pytest.raises(TaskError, match="a graph_coloring prompt reads like"):
        TASK.grade(Prompt(text), "123123")


def test_the_split_is_disjoint_and_does_not_depend_on_how_many_are_held_out() -> None:
    few, most = GraphColoring(held_out_count=1), GraphColoring(held_out_count=512)
    assert few.held_out == most.held_out[:1]
    assert (few.warm_start, few.train) == (most.warm_start, most.train)
    parts = [{prompt.text for prompt in part} for part in (most.held_out, most.warm_start, most.train)]
    assert [len(part) for part in parts] == [512, 1000, 3999]
    assert set.union(*parts) < {prompt.text for prompt in all_prompts()}


def test_no_two_parts_have_a_problem_in_common() -> None:
    """Every prompt with its colours renamed in all six ways is in the prompt's own part, or in none."""
    task = GraphColoring(held_out_count=512)
    part_of = {
        prompt.text: part for part in ("held_out", "warm_start", "train") for prompt in getattr(task, part)
    }
    left_out = {prompt.text for prompt in all_prompts()} - part_of.keys()
    for text, part in part_of.items():
        edges, given = text.split("=")
        for colours in permutations("123"):
            renamed = f"{edges}={given.translate(str.maketrans('123', ''.join(colours)))}"
            assert renamed in left_out or part_of[renamed] == part
    assert len(left_out) == 6


def test_split_depends_on_the_seed_alone() -> None:
    assert GraphColoring(seed=1).held_out != TASK.held_out
    code = "from maxent_ray.tasks import GraphColoring; print(*(p.text for p in GraphColoring().held_out))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.split() == [prompt.text for prompt in TASK.held_out]


@pytest.mark.parametrize("count", [0, 513])
def test_held_out_count_beyond_the_reserve(count: int) -> None:
    with pytest.raises(TaskError, match=rf"held_out_count is {count}; graph_coloring can hold out at most 512"):
        build_task("graph_coloring", held_out_count=count)
