"""Folders and files that settings name.

A relative path means the place where it was typed, in every process of a run.
"""

from __future__ import annotations

import os
from pathlib import Path

from maxent_ray.shipped import is_embedded


def absolute_folder(model: str) -> str:
    """A folder that exists, or is below ``~``, by its absolute path, links kept; any other name of a model as it is.

    Example:
        >>> absolute_folder("owner/model"), absolute_folder("embedded")
        ('owner/model', 'embedded')
    """
    folder = os.path.expanduser(model)
    is_folder = folder != model or (not is_embedded(model) and model.strip() and os.path.isdir(folder))
    return str(Path(folder).absolute()) if is_folder else model


def absolute_data(task: str) -> str:
    """A task's name with the absolute path of its data: of a file of JSON lines, or of a data set that is a folder.

    Example:
        >>> absolute_data("jsonl:/data/sums.jsonl"), absolute_data("hf:owner/sums"), absolute_data("countdown")
        ('jsonl:/data/sums.jsonl', 'hf:owner/sums', 'countdown')
    """
    kind, colon, source = task.partition(":")
    if colon and kind == "jsonl":
        return f"{kind}:{Path(os.path.expanduser(source)).absolute()}"
    return f"{kind}:{absolute_folder(source)}" if colon and kind == "hf" else task
