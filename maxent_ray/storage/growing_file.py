"""Complete lines of a file that grows, each read once."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

BLOCK_BYTES = 4 * 2**20


class Block(NamedTuple):
    """Complete lines of a file."""

    data: bytes
    """Ends with a newline."""
    offset: int
    """Bytes of the file before it."""


class GrowingFile:
    r"""A file of records that another process appends to. A missing file has no lines.

    Args:
        path: The file; one that is no regular file (a link, a pipe, a device) counts as missing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "rows.jsonl"
        ...     _ = path.write_text('{"step": 0}\n{"st')
        ...     file = GrowingFile(path)
        ...     [block.data for block in file.new_blocks()], file.has_partial_line
        ([b'{"step": 0}\n'], True)
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        """Bytes that were read."""
        self._identity: tuple[int, int] | None = None
        self._seen: tuple[int, int, int] | None = None
        self._size = 0

    @property
    def has_partial_line(self) -> bool:
        """True if bytes follow the last newline, as after a kill."""
        return self._size > self.position

    def has_changed(self) -> bool:
        """True if the file is another than at the last read, or has another size or time: one ``stat``, no read."""
        return regular_file(self.path) != self._seen

    def was_replaced(self) -> bool:
        """True if what was read before is no longer the beginning of the file: it was rewritten or is gone."""
        now = regular_file(self.path)
        if self._identity is None:
            return False
        return now is None or now[0] != self._identity[0] or now[1] < self.position

    def new_blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """Read the complete lines that were added since the last call, in blocks; those not asked for stay new."""
        file = self._open()
        if file is None:
            return
        with file:
            wanted = block_bytes
            while data := os.pread(file.fileno(), min(wanted, self._size - self.position), self.position):
                end = data.rfind(b"\n") + 1
                if end:
                    block = Block(data[:end], self.position)
                    self.position += end
                    wanted = block_bytes
                    yield block
                elif self.position + len(data) >= self._size:
                    return
                else:
                    wanted = 2 * len(data)  # a line longer than a block

    def sample_blocks(self, count: int, block_bytes: int) -> Iterator[Block]:
        """Read complete lines at ``count`` places spread evenly over the file, its end among them."""
        file = self._open()
        if file is None:
            return
        with file:
            for place in range(count):
                start = round((self._size - block_bytes) * place / (count - 1))
                data = os.pread(file.fileno(), block_bytes, start)
                begin = data.find(b"\n") + 1 if start else 0
                end = data.rfind(b"\n") + 1
                if end > begin:
                    self.position = start + end
                    yield Block(data[begin:end], start + begin)

    def _open(self) -> BinaryIO | None:
        """Open the file as it is now; None where there is none."""
        self._seen = regular_file(self.path)
        if self._seen is None:
            return None
        with suppress(FileNotFoundError):  # it may go meanwhile
            file = self.path.open("rb")
            self._identity, self._size = (self._seen[0], self._seen[1]), self._seen[1]
            return file
        return None


def regular_file(path: Path) -> tuple[int, int, int] | None:
    """Identity, size and time of a regular file; None where there is none. A link is none: it may lead anywhere."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None
