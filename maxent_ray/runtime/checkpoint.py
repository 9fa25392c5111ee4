"""Small JSON files that are either whole or absent: controller state beside a policy's checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from maxent_ray.errors import ResumeError


def save_json_atomic(path: str | os.PathLike[str], values: Any) -> None:
    """Write JSON so that a crash leaves the old file or the new one, never a part; numbers keep every bit.

    Args:
        path: Where to; the folder exists.
        values: Anything JSON can hold; NaN and infinities are refused.

    Raises:
        ValueError: ``values`` holds a number that is not finite.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_json_atomic(f"{folder}/controller.json", {"tau": 0.1})
        ...     load_json(f"{folder}/controller.json")
        {'tau': 0.1}
    """
    target = Path(path)
    text = json.dumps(values, allow_nan=False)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def load_json(path: str | os.PathLike[str]) -> Any:
    """Read what :func:`save_json_atomic` wrote.

    Raises:
        ResumeError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResumeError(f"{path}: no such file; nothing to resume from") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise ResumeError(f"{path}: not readable as JSON ({error})") from error
