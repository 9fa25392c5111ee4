"""Incremental reading of a record that another process is writing."""

from __future__ import annotations

import json
from pathlib import Path

from maxent_ray.storage.json_lines import Record

CHUNK = 1 << 24
"""Bytes that are read at a time, unless a line is longer."""


class Tail:
    r"""Reader of a file of JSON objects, one a line, which grows.

    Each call reads what was added, up to the last whole line. A file that was cut off or replaced is read again from
    its beginning, and ``restarts`` tells how often. ``torn`` counts lines that are no JSON object.

    Args:
        path: The file, which need not be there yet.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "rows.jsonl"
        ...     tail = Tail(path)
        ...     _ = path.write_text('{"step": 0}\n{"st')
        ...     print(tail.read())
        ...     _ = path.write_text('{"step": 0}\n{"step": 1}\n')
        ...     print(tail.read())
        [{'step': 0}]
        [{'step': 1}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarts = 0
        self.torn = 0
        self._offset = 0
        self._inode = 0

    def read(self) -> list[Record]:
        """Read the lines that were completed since the last call, some :data:`CHUNK` bytes; missing: none."""
        try:
            with self.path.open("rb") as file:
                self._restart_if_replaced()
                file.seek(self._offset)
                content = file.read(CHUNK)
                content += b"" if b"\n" in content else file.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [record for line in whole.splitlines() if line.strip() and (record := self._parsed(line)) is not None]

    def _restart_if_replaced(self) -> None:
        now = self.path.stat()
        if self._inode and (now.st_ino != self._inode or now.st_size < self._offset):
            self.restarts += 1
            self.torn = self._offset = 0
        self._inode = now.st_ino

    def _parsed(self, line: bytes) -> Record | None:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            return record
        self.torn += 1
        return None
