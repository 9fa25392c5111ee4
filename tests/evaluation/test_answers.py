from __future__ import annotations

from maxent_ray.evaluation.answers import PROMPTS_KEPT, Answer, PromptAnswers, evaluate_completions
from maxent_ray.evaluation.held_out import grade_completions
from maxent_ray.tasks import Countdown, Prompt
from tests.evaluation.test_held_out import NINE, TEN, Letters

COMPLETIONS = [["4+2+3", "2*3*4"], ["4+2*3", ""]]


def test_answers_are_kept_with_their_grades_beside_the_metrics() -> None:
    evaluation = evaluate_completions(Countdown(), [NINE, TEN], COMPLETIONS)
    assert evaluation.metrics == grade_completions(Countdown(), [NINE, TEN], COMPLETIONS)
    assert evaluation.samples == (
        PromptAnswers("2,3,4=9:", 3, (Answer("4+2+3", 1.0, "2+4+3"), Answer("2*3*4", 0.0, None))),
        PromptAnswers("2,3,4=10:", 2, (Answer("4+2*3", 1.0, "2*3+4"), Answer("", 0.0, None))),
    )


def test_the_first_prompts_are_kept_and_all_are_graded() -> None:
    prompts = [Prompt(f"{number}") for number in range(PROMPTS_KEPT + 3)]
    evaluation = evaluate_completions(Letters(), prompts, [["b"]] * len(prompts))
    assert [sample.prompt for sample in evaluation.samples] == [f"{number}" for number in range(PROMPTS_KEPT)]
    assert evaluation.metrics.prompts == len(prompts)


def test_a_task_that_lists_no_modes_has_no_number_of_them() -> None:
    evaluation = evaluate_completions(Letters(), Letters.held_out, [["a"]])
    assert evaluation.to_dict()["samples"] == [
        {"prompt": "y", "modes": None, "answers": ({"text": "a", "reward": 0.5, "mode": "a"},)}
    ]
