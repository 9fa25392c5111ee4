"""Answers of a held-out evaluation, kept to be read: what a policy wrote, and how it was graded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from maxent_ray.evaluation.held_out import HeldOutMetrics, grade_groups, metrics_of_grades
from maxent_ray.tasks.base import Grade, Prompt, Task

PROMPTS_KEPT = 8
"""Prompts whose answers are kept: the first ones, which are the same in every evaluation of a run."""

SHOWN = 200
"""Characters of a prompt or an answer that a log shows."""


@dataclass(frozen=True)
class Answer:
    """One graded completion."""

    text: str
    reward: float
    mode: str | None
    """Canonical form of a correct answer, None for a wrong one."""


@dataclass(frozen=True)
class PromptAnswers:
    """The k answers to one prompt."""

    prompt: str
    modes: int | None
    """Number of different correct answers; None when the task cannot list them."""
    answers: tuple[Answer, ...]

    @classmethod
    def of(cls, prompt: Prompt, texts: Sequence[str], grades: Sequence[Grade]) -> PromptAnswers:
        """Join completions and their grades."""
        answers = (Answer(text, grade.reward, grade.mode) for text, grade in zip(texts, grades, strict=True))
        return cls(prompt.text, len(prompt.modes) or None, tuple(answers))


@dataclass(frozen=True)
class HeldOutEvaluation:
    """One evaluation: the metrics of all its prompts, and the answers to the first of them."""

    metrics: HeldOutMetrics
    samples: tuple[PromptAnswers, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to values that JSON has: ``{"metrics": …, "samples": […]}``."""
        return {"metrics": self.metrics.to_dict(), "samples": [asdict(sample) for sample in self.samples]}

    def one_answer(self) -> str:
        """The best answer to the first prompt, for a log: people read answers before they read curves.

        Example:
            >>> from maxent_ray.tasks import Countdown
            >>> prompt = Prompt("2,3,4=9:", frozenset({"2+3+4", "2+4+3", "3+4+2"}))
            >>> evaluate_completions(Countdown(), [prompt], [["2*3+4", "3+2+4"]]).one_answer()
            "best of 2 answers to held-out prompt '2,3,4=9:' is '3+2+4', reward 1 (mean over all prompts 0.5)"
        """
        first = self.samples[0]
        best = max(first.answers, key=lambda answer: answer.reward)
        asked, said = (_shortened(text) for text in (first.prompt, best.text))
        where = f"best of {len(first.answers)} answers to held-out prompt {asked} is {said}"
        return f"{where}, reward {best.reward:.4g} (mean over all prompts {self.metrics.mean:.4g})"


def evaluate_completions(
    task: Task, prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]
) -> HeldOutEvaluation:
    """Grade k completions of every prompt, and keep the answers to the first :data:`PROMPTS_KEPT`.

    Args:
        task: Grades.
        prompts: B prompts.
        completions: B lists of k texts each, in the order of ``prompts``.

    Raises:
        TaskError: as :func:`~maxent_ray.evaluation.held_out.grade_completions`.

    Example:
        >>> from maxent_ray.tasks import Countdown
        >>> prompt = Prompt("2,3,4=9:", frozenset({"2+3+4", "2+4+3", "3+4+2"}))
        >>> evaluation = evaluate_completions(Countdown(), [prompt], [["3+2+4", "2*3+4"]])
        >>> evaluation.metrics.mean, evaluation.samples[0].answers[0]
        (0.5, Answer(text='3+2+4', reward=1.0, mode='2+3+4'))
    """
    grades = grade_groups(task, prompts, completions)
    kept = list(zip(prompts, completions, grades, strict=True))[:PROMPTS_KEPT]
    return HeldOutEvaluation(metrics_of_grades(prompts, grades), tuple(PromptAnswers.of(*each) for each in kept))


def _shortened(text: str) -> str:
    """The end of a text, where prompts and answers say most, as a literal of one line."""
    return repr(text if len(text) <= SHOWN else f"…{text[-SHOWN:]}")
