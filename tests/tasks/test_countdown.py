from __future__ import annotations

import random
import subprocess
import sys
from fractions import Fraction
from itertools import combinations

import pytest

from maxent_ray.errors import ConfigError, TaskError
from maxent_ray.tasks import Countdown, Grade, Prompt, build_task
from maxent_ray.tasks.countdown import END_MARK, MODES_PER_PROMPT, NUMBERS, TARGETS, all_prompts, solutions
from maxent_ray.tasks.expression import parse


@pytest.fixture(scope="module")
def task() -> Countdown:
    return Countdown()


def test_known_prompts_by_hand() -> None:
    # 2, 3 and 4: every way to 9 adds all three, in one of three groupings.
    assert solutions((2, 3, 4))[9] == {"2+3+4", "2+4+3", "3+4+2"}
    # 24 = 2·3·4 in three groupings; no sum, difference or quotient gets there.
    assert solutions((2, 3, 4))[24] == {"2*3*4", "2*4*3", "3*4*2"}
    # a-b+c in its five orders of the steps, and 4/2+7 besides.
    assert solutions((2, 4, 7))[9] == {"4-2+7", "7-2+4", "4+7-2", "7-(2-4)", "4-(2-7)", "4/2+7"}
    # A fraction on the way: 12/(3/4) and its two other orders.
    assert solutions((3, 4, 12))[16] >= {"12/(3/4)", "4*12/3", "12/3*4", "4/(3/12)", "4/3*12"}


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
        assert {target: len(modes) for target, modes in solutions(numbers).items()} == counts, numbers


def test_the_pool_of_prompts() -> None:
    prompts = all_prompts()
    assert len(prompts) == 957
    assert sum(len(prompt.modes) for prompt in prompts) == 3976
    assert all(len(prompt.modes) in MODES_PER_PROMPT for prompt in prompts)
    assert len({prompt.text for prompt in prompts}) == len(prompts)


def test_every_mode_is_a_right_completion_of_itself(task: Countdown) -> None:
    for prompt in all_prompts():
        for mode in prompt.modes:
            assert task.grade(prompt, mode) == Grade(1.0, mode)
            assert task.grade(prompt, mode + END_MARK) == Grade(1.0, mode)


def test_other_ways_to_write_a_mode_are_that_mode(task: Countdown) -> None:
    rng = random.Random(0)
    for prompt in rng.sample(all_prompts(), 200):
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
    for prompt in rng.sample(all_prompts(), 100):
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


@pytest.mark.parametrize(
    "text", ["", "3,5,7=22", "3,5,7:", "3,,7=22:", "3,5,7=-1:", "a,b,c=d:", "3,5,7=22:\n"]
)
def test_a_prompt_of_another_task_is_an_error(task: Countdown, text: str) -> None:
    with pytest.raises(TaskError, match="a countdown prompt reads like"):
        task.grade(Prompt(text), "3*5+7")


def test_split_is_disjoint_and_complete(task: Countdown) -> None:
    train, held_out = ({prompt.text for prompt in prompts} for prompts in (task.train, task.held_out))
    assert len(held_out) == 256
    assert not train & held_out
    assert train | held_out == {prompt.text for prompt in all_prompts()}


def test_split_depends_on_the_seed_alone(task: Countdown) -> None:
    assert Countdown().held_out == task.held_out
    assert Countdown(seed=1).held_out != task.held_out
    assert Countdown(held_out_count=300).held_out[:256] == task.held_out
    # Another process has another hash seed.
    code = "from maxent_ray.tasks import Countdown; print(*(p.text for p in Countdown().held_out))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.split() == [prompt.text for prompt in task.held_out]


def test_held_out_prompts_are_spread_over_the_pool(task: Countdown) -> None:
    """The split is blind: both sides have about the same mean number of modes (standard error 0.1)."""
    means = [sum(len(prompt.modes) for prompt in side) / len(side) for side in (task.train, task.held_out)]
    assert abs(means[0] - means[1]) < 0.4


@pytest.mark.parametrize("count", [-1, 0, 957, 5000])
def test_held_out_count_out_of_range(count: int) -> None:
    with pytest.raises(TaskError, match=rf"held_out_count is {count}; countdown has 957 prompts"):
        Countdown(held_out_count=count)


def test_modes_fit_the_completion_budget() -> None:
    assert max(len(mode) for prompt in all_prompts() for mode in prompt.modes) == 10


def test_build_task() -> None:
    built = build_task("countdown", held_out_count=64, seed=3)
    assert built.name == "countdown"
    assert built.held_out == Countdown(64, 3).held_out
    with pytest.raises(ConfigError, match=r"task.name is 'sudoku'; valid: countdown"):
        build_task("sudoku", held_out_count=64, seed=0)
