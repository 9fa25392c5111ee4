"""Tasks by name: built in, of data or a generator (``prefix:source``), from an entry point, or by import path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maxent_ray import plugins
from maxent_ray.errors import ConfigError
from maxent_ray.tasks.base import Task
from maxent_ray.tasks.options import DatasetOptions, HubOptions

BUILT_IN: Mapping[str, str] = {
    "countdown": "maxent_ray.tasks.countdown:Countdown",
    "countdown_small": "maxent_ray.tasks.countdown:CountdownSmall",
    "graph_coloring": "maxent_ray.tasks.graph_coloring:GraphColoring",
}
"""Name → import path; a new task is a file and a line here."""
WITH_SOURCE: Mapping[str, str] = {
    "jsonl": "maxent_ray.tasks.dataset:jsonl_task",
    "hf": "maxent_ray.tasks.dataset:hf_task",
    "reasoning_gym": "maxent_ray.tasks.reasoning_gym:ReasoningGym",
}
"""Part of a name before its first colon → import path of a function, which gets the part behind it."""
OPTIONS: Mapping[str, type] = {"jsonl": DatasetOptions, "hf": HubOptions}
"""Likewise → the keys of ``task.kwargs``, for tasks that declare them."""


def build_task(
    name: str, *, held_out_count: int = 256, seed: int = 0, kwargs: Mapping[str, Any] | None = None
) -> Task:
    """Build the task that a config names.

    Args:
        name: Of a built-in task, of an entry point of ``maxent_ray.tasks``, or an import path ``package.module:Class``;
            or ``jsonl:PATH``, ``hf:PATH-or-name``, ``reasoning_gym:NAME``.
        held_out_count: Prompts kept for evaluation.
        seed: Of the split into training and held-out prompts.
        kwargs: Further arguments of the task.

    Raises:
        ConfigError: no task has that name; it cannot be imported or called, or is no task.
        TaskError: the task has too few prompts for ``held_out_count``.

    Example:
        >>> len(build_task("countdown", held_out_count=64).held_out)
        64
        >>> build_task("cuntdown")
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: task.name is 'cuntdown'; valid: countdown, countdown_small, ...
    """
    fixed = {"held_out_count": held_out_count, "seed": seed}
    for key in fixed.keys() & (kwargs or {}):
        raise ConfigError(f"task.kwargs has {key!r}; set task.held_out_prompts or task.seed")
    prefix, colon, source = name.partition(":")
    given = {**(kwargs or {}), **fixed}
    if colon and prefix in WITH_SOURCE:
        path = WITH_SOURCE[prefix]
        task = plugins.call(path, {"source": source, **given}, "task.name")
    else:
        path = BUILT_IN.get(name) or plugins.import_path(name, plugins.TASKS, BUILT_IN, "task.name")
        task = plugins.call(path, given, "task.name")
    if not isinstance(task, Task):
        needs = "it must have name, train, held_out and grade(prompt, completion)"
        raise ConfigError(f"task.name is {path!r}, which gives {type(task).__name__}, no task: {needs}")
    return task
