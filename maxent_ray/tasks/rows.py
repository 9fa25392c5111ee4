"""Rows of data for tasks: from a file of JSON lines, or by the library ``datasets``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from maxent_ray.errors import TaskError
from maxent_ray.extras import require_for_setting
from maxent_ray.tasks.options import HubOptions


class Row(NamedTuple):
    """One row, and its place for messages."""

    place: str
    values: Mapping[str, Any]


def read_json_lines(path: str) -> list[Row]:
    """Read a file with an object in every line; empty lines are skipped.

    Raises:
        TaskError: the file cannot be read, or a line is no object; the message names the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise TaskError(f"task.name is 'jsonl:{path}': the file cannot be read ({error})") from None
    lines = enumerate(text.split("\n"), 1)  # not splitlines: JSON may hold other separators of lines
    return same_columns(
        Row(f"{path}, line {number}", _object(path, number, line)) for number, line in lines if line.strip()
    )


def read_dataset(source: str, options: HubOptions) -> list[Row]:
    """Read a split by the library ``datasets``: of a folder that it saved, of a folder of files, or of the hub.

    Raises:
        ConfigError: the library is not installed.
        TaskError: it cannot load the data, or has columns that no JSON can hold.
    """
    require_for_setting(f"task.name is 'hf:{source}'", "datasets", "3.0", "tasks")
    try:
        table = _load(source, options)
    except Exception as error:  # the library raises many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        what = f"datasets cannot load split {options.split!r}"
        raise TaskError(f"task.name is 'hf:{source}': {what} ({reason})") from error
    rows = [Row(f"{source}, row {number}", dict(values)) for number, values in enumerate(table)]
    for row in rows[:1]:
        for name, value in row.values.items():
            if not _is_plain(value):
                kind = f"{type(value).__name__}, neither text, number, list nor mapping"
                raise TaskError(
                    f"{row.place}: column {name!r} holds {kind}, and cannot be handed to a reward; remove it"
                )
    return same_columns(rows)


def same_columns(rows: Iterable[Row]) -> list[Row]:
    """Check that all rows have the same columns, since rewards get each of them as a list.

    Raises:
        TaskError: one has another.

    Example:
        >>> same_columns([Row("line 1", {"prompt": "a", "answer": 1}), Row("line 2", {"prompt": "b"})])
        Traceback (most recent call last):
        maxent_ray.errors.TaskError: line 2 has no column 'answer', which line 1 has; write null where there is no value
    """
    found = list(rows)
    for row in found:
        for one, other in ((row, found[0]), (found[0], row)):
            for name in other.values:
                if name not in one.values:
                    advice = "write null where there is no value"
                    raise TaskError(f"{one.place} has no column {name!r}, which {other.place} has; {advice}")
    return found


def _object(path: str, number: int, line: str) -> Mapping[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path}, line {number} is not JSON ({error}); each line must hold one object") from None
    if not isinstance(values, dict):
        raise TaskError(f"{path}, line {number} is a JSON {type(values).__name__}; each line must hold one object")
    return values


def _load(source: str, options: HubOptions) -> Any:
    from datasets import load_dataset, load_from_disk

    folder = Path(source)
    if (folder / "dataset_dict.json").is_file():
        return load_from_disk(source)[options.split]
    if (folder / "state.json").is_file():
        return load_from_disk(source)
    return load_dataset(source, name=options.subset, split=options.split)


def _is_plain(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
