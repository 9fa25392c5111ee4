"""Policies that the package ships: one for each built-in task, warm-started on it."""

from __future__ import annotations

from pathlib import Path

from maxent_ray.errors import PolicyLoadError

EMBEDDED = "embedded"
"""The shipped policy of the run's task; ``embedded:NAME`` is that of task NAME."""
DEFAULT_TASK = "countdown"
"""Task of the settings' default, and of the shipped policy where there is no run."""
ASSETS = Path(__file__).parent / "policy" / "assets"


def is_embedded(model: str) -> bool:
    """True for the name of a shipped policy, whatever folders there are.

    Example:
        >>> [is_embedded(name) for name in ("embedded", "embedded:countdown", "./embedded", "owner/model")]
        [True, True, False, False]
    """
    return model.partition(":")[0] == EMBEDDED


def embedded_in(model: str, task: str) -> str:
    """Name of a run's model, with the run's task where it is the shipped policy of that.

    Example:
        >>> embedded_in("embedded", "countdown_small"), embedded_in("embedded:countdown", "my_tasks:Sums")
        ('embedded:countdown_small', 'embedded:countdown')
    """
    return f"{EMBEDDED}:{task}" if model == EMBEDDED else model


def embedded_folder(model: str) -> Path:
    """Folder of a shipped policy.

    Args:
        model: ``embedded:NAME``; ``embedded`` alone is the default task's.

    Raises:
        PolicyLoadError: no policy is shipped for that task.

    Example:
        >>> embedded_folder("embedded:countdown").name
        'countdown'
        >>> embedded_folder("embedded:my_tasks:Sums")
        Traceback (most recent call last):
        ...
        maxent_ray.errors.PolicyLoadError: model='embedded:my_tasks:Sums': no policy is shipped for task ...
    """
    task = embedded_in(model, DEFAULT_TASK).removeprefix(f"{EMBEDDED}:")
    shipped = sorted(folder.name for folder in ASSETS.iterdir() if folder.is_dir())
    if task not in shipped:
        names = ", ".join(f"{EMBEDDED}:{name}" for name in shipped)
        raise PolicyLoadError(
            f"model={model!r}: no policy is shipped for task {task!r}; set policy.model to the shipped policy of "
            f"another task ({names}), to the folder of a Hugging Face model, or to its name on the hub"
        )
    return ASSETS / task
