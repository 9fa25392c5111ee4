from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import pytest

from maxent_ray.errors import ConfigError, TaskError
from maxent_ray.tasks import Countdown, CountdownSmall, Grade, Prompt, build_task
from maxent_ray.tasks.countdown import END_MARK
from maxent_ray.tasks.countdown_prompts import MODES_PER_PROMPT, all_prompts, solutions
from maxent_ray.tasks.expression import parse

NUMBERS, TARGETS = CountdownSmall.ranges.numbers, CountdownSmall.ranges.targets
EVERY = {kind.name: kind for kind in (Countdown, CountdownSmall)}


@pytest.fixture(scope="module", params=EVERY)
def task(request: pytest.FixtureRequest) -> Countdown:
    return EVERY[request.param]()


def test_known_prompts_by_hand() -> None:
    # 2, 3 and 4: every way to 9 adds all three, in one of three groupings.
    assert solutions((2, 3, 4), TARGETS)[9] == {"2+3+4", "2+4+3", "3+4+2"}
    # 24 = 2·3·4 in three groupings; no sum, difference or quotient gets there.
    assert solutions((2, 3, 4), TARGETS)[24] == {"2*3*4", "2*4*3", "3*4*2"}
    # a-b+c in its five orders of the steps, and 4/2+7 besides.
    assert solutions((2, 4, 7), TARGETS)[9] == {"4-2+7", "7-2+4", "4+7-2", "7-(2-4)", "4-(2-7)", "4/2+7"}
    # A fraction on the way: 12/(3/4) and its two other orders.
    assert solutions((3, 4, 12), TARGETS)[16] >= {"12/(3/4)", "4*12/3", "12/3*4", "4/(3/12)", "4/3*12"}


def _modes_by_splitting(numbers: tuple[int, ...]) -> dict[object, Fraction]:
    """Oracle: trees over subsets, as nested frozensets with their values; no text, no parser."""
    if len(numbers) == 1:
        return {numbers[0]: Fraction(numbers[0])}
    found: dict[object, Fraction] = {}
    for size in range(1, len(numbers)):
        for chosen in combinations(numbers, size):
            rest = tuple(number for number in numbers if number not in chosen)
            for left, x in _modes_by_splitting(chosen).items():
                for right, y in _modes_by_splitting(rest).items():
                    found["+", frozenset([left, right])] = x + y
                    found["*", frozenset([left, right])] = x * y
                    found["-", (left, right)] = x - y
                    if y != 0:
                        found["/", (left, right)] = x / y
    return found


def test_an_independent_count_of_all_modes_agrees() -> None:
    for numbers in combinations(NUMBERS, 3):
        counts = dict.fromkeys(TARGETS, 0)
        for value in _modes_by_splitting(numbers).values():
            if value in counts:
                counts[int(value)] += 1
        assert {target: len(modes) for target, modes in solutions(numbers, TARGETS).items()} == counts, numbers


POOL = {"countdown": (4941, 20_713), "countdown_small": (957, 3976)}
"""Prompts, and modes of all of them together."""


def test_the_pool_of_prompts(task: Countdown) -> None:
    prompts = all_prompts(task.ranges)
    assert (len(prompts), sum(len(prompt.modes) for prompt in prompts)) == POOL[task.name]
    assert all(len(prompt.modes) in MODES_PER_PROMPT for prompt in prompts)
    assert len({prompt.text for prompt in prompts}) == len(prompts)


def test_every_mode_is_a_right_completion_of_itself(task: Countdown) -> None:
    for prompt in all_prompts(task.ranges):
        for mode in prompt.modes:
            assert task.grade(prompt, mode) == Grade(1.0, mode)
            assert task.grade(prompt, mode + END_MARK) == Grade(1.0, mode)


def test_other_ways_to_write_a_mode_are_that_mode(task: Countdown) -> None:
    rng = random.Random(0)
    for prompt in rng.sample(all_prompts(task.ranges), 200):
        for mode in prompt.modes:
            for _ in range(3):
                assert task.grade(prompt, _rewritten(mode, rng)) == Grade(1.0, mode)


def _rewritten(mode: str, rng: random.Random) -> str:
    """Every step in brackets, operands of + and * swapped at random."""
    expression = parse(mode)
    assert expression is not None
    stack: list[str] = []
    for token in expression.postfix:
        if isinstance(token, int):
            stack.append(str(token))
            continue
        right, left = stack.pop(), stack.pop()
        if token in ("+", "*") and rng.random() < 0.5:
            left, right = right, left
        stack.append(f"({left}{token}{right})")
    return stack.pop()


def test_random_right_completions_are_among_the_modes(task: Countdown) -> None:
    """Random text over the prompt's own tokens: what is graded correct has a mode that was enumerated."""
    rng = random.Random(4)
    right = 0
    for prompt in rng.sample(all_prompts(task.ranges), 100):
        a, b, c = prompt.text.split("=")[0].split(",")
        for _ in range(300):
            x, y, z = rng.sample([a, b, c], 3)
            first, second = rng.choices("+-*/", k=2)
            text = rng.choice(
                [f"{x}{first}{y}{second}{z}", f"({x}{first}{y}){second}{z}", f"{x}{first}({y}{second}{z})"]
            )
            grade = task.grade(prompt, text)
            assert (grade.mode in prompt.modes) == (grade.reward == 1.0)
            right += grade.reward == 1.0
    assert right > 500


@pytest.mark.parametrize(
    "completion",
    [
        "",
        END_MARK,
        f"{END_MARK}3*5+7",  # ends before it begins
        "3*5+7=22",
        "3*5",  # 7 is missing
        "3*5+7+3-3",  # 3 twice too often
        "3*5+7*1",  # a number that is not there
        "22",
        "15+7",
        "3*5+8",
        "3+5*7",  # 38
        "3/(5-5)+7",
        "-3*-5+7",
        "3*5+7 and",
        "(" * 5000,
        "9" * 5000,
        "3*" * 5000 + "3",
        "__import__('os')",
    ],
)
def test_wrong_completions(task: Countdown, completion: str) -> None:
    assert task.grade(Prompt("3,5,7=22:"), completion) == Grade(0.0, None)


def test_what_follows_the_end_mark_does_not_count(task: Countdown) -> None:
    assert task.grade(Prompt("3,5,7=22:"), "7+5*3$ $$+1") == Grade(1.0, "3*5+7")


@pytest.mark.parametrize("text", ["", "3,5,7=22", "3,5,7:", "3,,7=22:", "3,5,7=-1:", "a,b,c=d:", "3,5,7=22:\n"])
def test_a_prompt_of_another_task_is_an_error(task: Countdown, text: str) -> None:
    with pytest.raises(TaskError, match="a countdown prompt reads like"):
        task.grade(Prompt(text), "3*5+7")


def test_the_split_is_disjoint() -> None:
    task = Countdown(held_out_count=512)
    parts = [{prompt.text for prompt in part} for part in (task.held_out, task.warm_start, task.train)]
    assert [len(part) for part in parts] == [512, 1000, 3429]
    assert set.union(*parts) == {prompt.text for prompt in all_prompts(task.ranges)}


def test_the_small_split_is_disjoint_and_complete() -> None:
    task = CountdownSmall()
    train, held_out = ({prompt.text for prompt in prompts} for prompts in (task.train, task.held_out))
    assert len(held_out) == 256
    assert not train & held_out
    assert train | held_out == {prompt.text for prompt in all_prompts(task.ranges)}


def test_training_does_not_depend_on_how_many_are_held_out() -> None:
    few, most = Countdown(held_out_count=1), Countdown(held_out_count=512)
    assert few.held_out == most.held_out[:1]
    assert (few.warm_start, few.train) == (most.warm_start, most.train)


def test_the_first_prompts_of_a_split_are_those_of_committed_results() -> None:
    """Any other order or salt of the hash would make recorded figures those of other prompts."""
    texts = {name: " ".join(prompt.text for prompt in EVERY[name]().held_out[:4]) for name in EVERY}
    assert texts == {
        "countdown": "4,12,16=8: 3,9,19=31: 9,10,15=14: 8,9,20=20:",
        "countdown_small": "2,6,9=13: 2,5,11=4: 5,6,8=8: 6,10,12=5:",
    }
    assert _digest(Countdown().train) == "d715b182cd881137"
    assert _digest(CountdownSmall().train) == "df3b75d3eb11b485"


def _digest(prompts: Sequence[Prompt]) -> str:
    return hashlib.sha256("\n".join(prompt.text for prompt in prompts).encode()).hexdigest()[:16]


def test_split_depends_on_the_seed_alone(task: Countdown) -> None:
    kind = type(task)
    assert kind().held_out == task.held_out
    assert kind(seed=1).held_out != task.held_out
    assert kind(held_out_count=300).held_out[:256] == task.held_out
    # Another process has another hash seed.
    code = f"from maxent_ray.tasks import *; print(*(p.text for p in {kind.__name__}().held_out))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.split() == [prompt.text for prompt in task.held_out]


def test_held_out_prompts_are_spread_over_the_pool(task: Countdown) -> None:
    """The split is blind: all parts have about the same mean number of modes (standard error 0.1)."""
    parts = (task.train, task.warm_start, task.held_out)
    means = [sum(len(prompt.modes) for prompt in part) / len(part) for part in parts]
    assert max(means) - min(means) < 0.4


@pytest.mark.parametrize("count", [-1, 0, 957, 5000])
def test_held_out_count_out_of_range(count: int) -> None:
    message = rf"held_out_count is {count}; countdown_small can hold out at most 956 of its 957 prompts"
    with pytest.raises(TaskError, match=message):
        CountdownSmall(held_out_count=count)


@pytest.mark.parametrize("count", [0, 513])
def test_held_out_count_beyond_the_reserve(count: int) -> None:
    message = rf"held_out_count is {count}; countdown can hold out at most 512 .* must be between 1 and 512"
    with pytest.raises(TaskError, match=message):
        Countdown(held_out_count=count)


def test_modes_fit_the_completion_budget(task: Countdown) -> None:
    assert max(len(mode) for prompt in all_prompts(task.ranges) for mode in prompt.modes) == 10


def test_build_task(task: Countdown) -> None:
    built = build_task(task.name, held_out_count=64, seed=3)
    assert built.name == task.name
    assert built.held_out == type(task)(64, 3).held_out
    with pytest.raises(ConfigError, match=r"task.name is 'sudoku'; valid: countdown"):
        build_task("sudoku", held_out_count=64, seed=0)
