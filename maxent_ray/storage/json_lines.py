"""Append-only files of one JSON object a line: the records of a run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maxent_ray.storage.write_errors import writing

Record = Mapping[str, Any]


def append(path: Path, records: Iterable[Record]) -> None:
    """Add one line for each record, all in one write.

    Raises:
        RecordingError: the disk is full, or the file's folder is gone or cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "rows.jsonl"
        ...     append(file, [{"step": 0, "kl": math.nan}, {"step": 1, "kl": 0.05}])
        ...     print(file.read_text(), end="")
        {"step": 0, "kl": null}
        {"step": 1, "kl": 0.05}
    """
    text = "".join(json.dumps(strict(record), allow_nan=False) + "\n" for record in records)
    if not text:
        return
    with writing(path, "Training so far is kept"), path.open("a", encoding="utf-8") as file:
        file.write(text)


def truncate_partial_line(path: Path) -> None:
    r"""Cut off the partial line that a killed run left at the end of a file; a missing file is left missing.

    Nothing before the cut is written again, so a kill in here loses nothing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "rows.jsonl"
        ...     _ = file.write_text('{"step": 0}\n{"st')
        ...     truncate_partial_line(file)
        ...     file.read_text()
        '{"step": 0}\n'
    """
    if path.is_file():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def read_lines(path: Path) -> tuple[list[Record], int]:
    """Read the JSON objects of a file, one a line, and count the lines that are none. A missing file has no lines."""
    return parse_lines(path.read_bytes()) if path.is_file() else ([], 0)


def parse_lines(content: bytes) -> tuple[list[Record], int]:
    r"""Parse the JSON objects of some lines, and count the lines that are none.

    Example:
        >>> parse_lines(b'{"step": 0}\n[1]\n\n{"st')
        ([{'step': 0}], 2)
    """
    records: list[Record] = []
    torn = 0
    for line in content.decode(errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            torn += 1
    return records, torn


def strict(value: Any) -> Any:
    """Replace every number that is not finite by None: JSON cannot express it."""
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
