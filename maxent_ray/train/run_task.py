"""The task of a run and the prompts that it asks. Loads no models, so that a driver may use it."""

from __future__ import annotations

from maxent_ray.config import ExperimentConfig
from maxent_ray.errors import ConfigError
from maxent_ray.tasks import Task, build_task, tells_modes


def build_run_task(config: ExperimentConfig) -> Task:
    """Build the task as configured, and check that the controller's signals can be measured on it.

    Raises:
        ConfigError: a task of the user's own cannot be imported, or is none; ``mode_entropy`` is to be tracked, and the
            task does not tell modes.
        TaskError: the task is empty or too small.
    """
    settings = config.task
    task = build_task(
        settings.name, held_out_count=settings.held_out_prompts, seed=settings.seed, kwargs=settings.kwargs
    )
    if config.controller.entropy_signal == "mode_entropy" and not tells_modes(task):
        raise ConfigError(
            f"controller.entropy_signal is 'mode_entropy', and task {settings.name!r} does not tell the modes of its "
            "answers (tells_modes); set it to weight_entropy or informative_weight_entropy, or choose a task that "
            "tells modes, such as countdown"
        )
    return task


def asked_texts(task: Task, config: ExperimentConfig) -> list[str]:
    """Texts of all prompts that a run asks, in training and in its evaluations."""
    return [prompt.text for prompt in (*task.train, *task.held_out[: config.evaluation.prompts])]
