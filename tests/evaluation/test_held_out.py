from __future__ import annotations

import json
import math

import pytest

from maxent_ray.errors import TaskError
from maxent_ray.evaluation.held_out import HeldOutMetrics, grade_completions, grade_groups, metrics_of_grades
from maxent_ray.tasks import Countdown, Grade, Prompt

NINE = Prompt("2,3,4=9:", frozenset({"2+3+4", "2+4+3", "3+4+2"}))
TEN = Prompt("2,3,4=10:", frozenset({"2*3+4", "(2+3)*2"}))  # the second mode is never met


class Letters:
    """A task without a list of modes: half the reward for an "a", all of it for a "b"."""

    name = "letters"
    train = (Prompt("x"),)
    held_out = (Prompt("y"),)

    def grade(self, prompt: Prompt, completion: str) -> Grade:
        return {"a": Grade(0.5, "a"), "b": Grade(1.0, "b")}.get(completion, Grade(0.0))


def test_metrics_by_hand() -> None:
    completions = [
        ["2+3+4$", "4+(3+2)", "2+4+3", "2*3*4"],  # 3 of 4 right, 2 modes of 3
        ["2*3+4", "4+2*3$", "", "2+3+4"],  # 2 of 4 right, 1 mode of 2
        ["", "9", "-", "2+3"],  # nothing right
    ]
    metrics = grade_completions(Countdown(), [NINE, TEN, NINE], completions)
    assert metrics.per_prompt.mean == (0.75, 0.5, 0.0)
    assert metrics.per_prompt.pass_rate == (1.0, 1.0, 0.0)
    assert metrics.per_prompt.distinct == (2.0, 1.0, 0.0)
    assert metrics.per_prompt.coverage == (2 / 3, 1 / 2, 0.0)
    assert metrics.mean == pytest.approx(1.25 / 3)
    assert metrics.pass_rate == pytest.approx(2 / 3)
    assert metrics.distinct == pytest.approx(1.0)
    assert metrics.coverage == pytest.approx(7 / 18)
    assert (metrics.prompts, metrics.samples) == (3, 4)


def test_all_modes_sampled_is_full_coverage_and_collapse_is_not() -> None:
    task = Countdown()
    spread = [[sorted(prompt.modes)[i % len(prompt.modes)] for i in range(8)] for prompt in task.held_out]
    collapsed = [[min(prompt.modes)] * 8 for prompt in task.held_out]
    wide, narrow = (grade_completions(task, task.held_out, texts) for texts in (spread, collapsed))
    assert (wide.mean, wide.pass_rate, wide.coverage) == (1.0, 1.0, 1.0)
    assert (narrow.mean, narrow.pass_rate, narrow.distinct) == (1.0, 1.0, 1.0)
    expected = [1 / len(prompt.modes) for prompt in task.held_out]
    assert narrow.coverage == pytest.approx(sum(expected) / len(expected))


def test_a_task_that_lists_no_modes_has_no_coverage() -> None:
    metrics = grade_completions(Letters(), Letters.held_out, [["a", "b", "b", "c"]])
    assert (metrics.mean, metrics.pass_rate, metrics.distinct) == (0.625, 1.0, 2.0)
    assert math.isnan(metrics.coverage)
    written = metrics.to_dict()
    assert written["coverage"] is None
    assert math.isnan(HeldOutMetrics.from_dict(written).per_prompt.coverage[0])


def test_grades_once_taken_give_the_same_metrics() -> None:
    prompts, texts = [NINE, TEN], [["2+3+4", "1"], ["4+2*3", "2*3+4"]]
    grades = grade_groups(Countdown(), prompts, texts)
    assert grades == [[Grade(1.0, "2+3+4"), Grade(0.0)], [Grade(1.0, "2*3+4"), Grade(1.0, "2*3+4")]]
    metrics = metrics_of_grades(prompts, grades)
    assert metrics == grade_completions(Countdown(), prompts, texts)
    assert (metrics.per_prompt.distinct, metrics.samples) == ((1.0, 1.0), 2)


def test_metrics_survive_strict_json() -> None:
    metrics = grade_completions(Countdown(), [NINE, TEN], [["2+3+4", ""], ["2*3+4", "1"]])
    assert HeldOutMetrics.from_dict(json.loads(json.dumps(metrics.to_dict(), allow_nan=False))) == metrics


@pytest.mark.parametrize(
    ("prompts", "completions", "message"),
    [
        ([], [], "prompts is empty"),
        ([NINE], [], "completions has 0 lists for 1 prompts"),
        ([NINE, TEN], [["a"], ["a", "b"]], r"completions has \[1, 2\] texts a prompt"),
        ([NINE], [[]], r"completions has \[0\] texts a prompt"),
        (
            [Prompt("2,3,4=9:", frozenset({"2+3+4"}))],
            [["2+4+3"]],
            r"modes \['2\+4\+3'\] that prompt '2,3,4=9:'",
        ),
    ],
)
def test_bad_input(prompts: list[Prompt], completions: list[list[str]], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        grade_completions(Countdown(), prompts, completions)
