"""The terminal, a pipe or a file that a command writes to: whatever becomes of it, the command goes on."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console

LOG_WIDTH = 110
"""Columns of tables that go to a file or a pipe."""
SPELL = "maxent-ray-spell"
"""Error handler of encodings that lack a letter, as ASCII lacks τ: spells it, or writes its code."""
_SPELLED = {"τ": "tau", "β": "beta", "−": "-", "–": "-", "…": "...", "≥": ">=", "≤": "<=", "±": "+-", "•": "*"}


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """Spell letters that an encoding lacks, or write their code."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SPELLED.get(letter, ascii(letter)[1:-1]) for letter in lacking), error.end


codecs.register_error(SPELL, _spell)


def spell_for_terminal() -> None:
    """Have this process's standard output and error spell the letters that they lack."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=SPELL)


class Output(io.TextIOBase):
    r"""Stream that never fails: it spells letters that its encoding lacks, and falls silent once it cannot be written.

    Args:
        stream: Standard output or standard error.

    Example:
        >>> ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        >>> with Output(ascii_only) as output:
        ...     _ = output.write("τ at the end, ü")
        ...     ascii_only.seek(0)
        ...     ascii_only.read()
        0
        'tau at the end, \\xfc'
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fails = False

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property there too, in the stubs a variable
        """The stream's own."""
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Write, unless an earlier write failed."""
        if not self._fails:
            try:
                self._stream.write(text.encode(self.encoding, SPELL).decode(self.encoding))
            except (OSError, ValueError):  # the reader has left, the disk is full; the stream is closed
                self._fall_silent()
        return len(text)

    def flush(self) -> None:
        """Flush likewise."""
        if not self._fails:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._fall_silent()

    def isatty(self) -> bool:
        """True for a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._stream.fileno()

    def _fall_silent(self) -> None:
        """Discard what is written from now on, and what the stream still holds: Python would fail on it at its end."""
        self._fails = True
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def make_console(*, stderr: bool = False) -> Console:
    """Console on standard output or error, as wide as the terminal, or LOG_WIDTH without one; COLUMNS > 0 wins."""
    stream = sys.stderr if stderr else sys.stdout
    if stream is None:  # closed by the caller
        return Console(file=io.StringIO(), width=LOG_WIDTH)
    file: Any = Output(stream)
    follows_terminal = stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=file, width=None if follows_terminal else shutil.get_terminal_size((LOG_WIDTH, 0)).columns)
