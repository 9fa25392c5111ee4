"""Held-out metrics: correctness and diversity of a policy's answers.

For a prompt with k sampled completions:

- mean@k: the mean reward;
- pass@k: 1 when at least one completion is correct, which is one that has a mode, else 0;
- distinct@k: how many different modes the correct completions have;
- coverage@k: distinct@k over the number of all modes of the prompt.

A policy that has collapsed keeps its mean@k and loses the other three. Source: the held-out metrics of the
maximum-entropy GRPO literature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeAlias

from maxent_ray.core.answer_metrics import METRICS, ByMetric, by_metric
from maxent_ray.errors import TaskError
from maxent_ray.tasks.base import BatchTask, Grade, Prompt, Task

PerPrompt: TypeAlias = ByMetric[tuple[float, ...]]
"""Values of every prompt, in the order of the prompts, so that two runs can be paired."""


@dataclass(frozen=True)
class HeldOutMetrics(ByMetric[float]):
    """The metrics averaged over prompts, with the values they are averages of.

    Args:
        mean: mean@k.
        pass_rate: pass@k.
        distinct: distinct@k.
        coverage: coverage@k; nan when the task cannot list the modes of every prompt.
        prompts: number of prompts.
        samples: k, completions per prompt.
        per_prompt: the same metrics, prompt by prompt.
    """

    prompts: int
    samples: int
    per_prompt: PerPrompt

    @classmethod
    def of(cls, per_prompt: PerPrompt, samples: int) -> HeldOutMetrics:
        """Average `per_prompt` over its prompts."""
        averages = {metric: fmean(per_prompt[metric]) for metric in METRICS}
        return cls(**averages, prompts=len(per_prompt.mean), samples=samples, per_prompt=per_prompt)

    def to_dict(self) -> dict[str, Any]:
        """As strict JSON holds it: tuples as lists, a coverage that does not exist as None."""
        return {
            **{metric: _to_json(self[metric]) for metric in METRICS},
            "prompts": self.prompts,
            "samples": self.samples,
            "per_prompt": {metric: [_to_json(value) for value in self.per_prompt[metric]] for metric in METRICS},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HeldOutMetrics:
        """Inverse of `to_dict`; the averages are recomputed from the values of the prompts."""
        values = data["per_prompt"]
        per_prompt = by_metric(
            lambda metric: tuple(math.nan if value is None else value for value in values[metric])
        )
        return cls.of(per_prompt, data["samples"])


def grade_completions(
    task: Task, prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]
) -> HeldOutMetrics:
    """Grade k completions of every prompt.

    Args:
        task: whose grader judges.
        prompts: what was asked, B prompts.
        completions: B lists of k texts each, in the order of `prompts`; a text may still hold its end mark.

    Raises:
        TaskError: there are no prompts, not one list per prompt, or lists that are empty or differ in length;
            or the grader names a mode that its prompt does not have.

    Example:
        >>> from maxent_ray.tasks import Countdown
        >>> task = Countdown()
        >>> prompt = Prompt("2,3,4=9:", frozenset({"2+3+4", "2+4+3", "3+4+2"}))
        >>> metrics = grade_completions(task, [prompt], [["2+3+4", "3+2+4$", "2*3+4", "(4+3)+2"]])
        >>> metrics.mean, metrics.pass_rate, metrics.distinct, round(metrics.coverage, 3)
        (0.75, 1.0, 2.0, 0.667)
    """
    return metrics_of_grades(prompts, grade_groups(task, prompts, completions))


def grade_groups(
    task: Task, prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]
) -> list[list[Grade]]:
    """Grade every completion, one list a prompt; in one call where the task grades batches.

    Raises:
        TaskError: as :func:`grade_completions`.
    """
    if not prompts:
        raise TaskError("prompts is empty: held-out metrics need at least 1 prompt")
    if len(completions) != len(prompts):
        raise TaskError(
            f"completions has {len(completions)} lists for {len(prompts)} prompts; one each is needed"
        )
    samples = len(completions[0])
    lengths = sorted({len(texts) for texts in completions})
    if lengths != [samples] or samples == 0:
        raise TaskError(
            f"completions has {lengths} texts a prompt; every prompt needs the same number, 1 or more"
        )
    if isinstance(task, BatchTask):
        repeated = [prompt for prompt in prompts for _ in range(samples)]
        graded = task.grade_batch(repeated, [text for texts in completions for text in texts])
        return [graded[start : start + samples] for start in range(0, len(graded), samples)]
    return [
        [task.grade(prompt, text) for text in texts]
        for prompt, texts in zip(prompts, completions, strict=True)
    ]


def metrics_of_grades(prompts: Sequence[Prompt], grades: Sequence[Sequence[Grade]]) -> HeldOutMetrics:
    """Compute the metrics of graded groups, k = the size of a group.

    Raises:
        TaskError: the grader named a mode that its prompt does not have.
    """
    modes = [_distinct_modes(prompt, group) for prompt, group in zip(prompts, grades, strict=True)]
    per_prompt = PerPrompt(
        mean=tuple(fmean(grade.reward for grade in group) for group in grades),
        pass_rate=tuple(float(found > 0) for found in modes),
        distinct=tuple(float(found) for found in modes),
        coverage=tuple(
            found / len(prompt.modes) if prompt.modes else math.nan
            for prompt, found in zip(prompts, modes, strict=True)
        ),
    )
    return HeldOutMetrics.of(per_prompt, len(grades[0]))


def _distinct_modes(prompt: Prompt, grades: Sequence[Grade]) -> int:
    found = {grade.mode for grade in grades if grade.mode is not None}
    unknown = sorted(found - prompt.modes) if prompt.modes else []
    if unknown:
        raise TaskError(f"the grader named modes {unknown} that prompt {prompt.text!r} does not list")
    return len(found)


def _to_json(value: float) -> float | None:
    return None if math.isnan(value) else value
