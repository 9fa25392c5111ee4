"""The score that trials are compared by must be known on the task of the run."""

from __future__ import annotations

from maxent_ray.config import ExperimentConfig
from maxent_ray.errors import ConfigError
from maxent_ray.train.run_task import build_run_task


def check_score(config: ExperimentConfig) -> None:
    """Check that the metric of clones, early stopping and proposals exists: coverage needs the modes of every prompt.

    Raises:
        ConfigError: it does not.

    Example:
        >>> check_score(ExperimentConfig())
    """
    task = build_run_task(config)
    if config.tune.metric == "coverage" and not all(prompt.modes for prompt in task.train):
        raise ConfigError(
            f"tune.metric is 'coverage', and task {task.name!r} does not list the modes of its prompts, so that it is "
            "not known; set tune.metric to distinct, pass_rate or mean"
        )
