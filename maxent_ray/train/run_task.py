"""The task of a run and the prompts that it asks. Loads no models, so that a driver may use it."""

from __future__ import annotations

from maxent_ray.config import ExperimentConfig, TaskSettings
from maxent_ray.tasks import Task, build_task


def build_run_task(settings: TaskSettings) -> Task:
    """Build the task as configured.

    Raises:
        ConfigError: a task of the user's own cannot be imported, or is none.
        TaskError: the task is empty or too small.
    """
    return build_task(
        settings.name, held_out_count=settings.held_out_prompts, seed=settings.seed, kwargs=settings.kwargs
    )


def asked_texts(task: Task, config: ExperimentConfig) -> list[str]:
    """Texts of all prompts that a run asks, in training and in its evaluations."""
    return [prompt.text for prompt in (*task.train, *task.held_out[: config.evaluation.prompts])]
