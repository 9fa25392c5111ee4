"""Status of a run, told from its files: it is running, or how it ended and what to do."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Literal, NamedTuple

from maxent_ray.dashboard.growing_file import regular_file
from maxent_ray.storage.driver_lock import LOCK, read_holder
from maxent_ray.storage.run_files import DECISIONS, EVALUATIONS, ROWS, TRACE

State = Literal["running", "finished", "failed", "interrupted", "unreadable"]
LATELY_S = 120.0
"""Without a lock to go by (another machine's run, a copied folder), a run whose records grew since then is running."""
_LOCKS = Path("/proc/locks")
_LONGEST_TRACE = 20_000


class Status(NamedTuple):
    """State of a run, and a sentence where one is needed."""

    state: State
    message: str = ""


def is_running(folder: Path) -> bool:
    """True if a driver of this machine holds the folder's lock; of another machine's, if its records grew lately."""
    holder = read_holder(folder)
    if holder and holder.split()[-1] == socket.gethostname() and (held := _is_locked(folder / LOCK)) is not None:
        return held
    files = [regular_file(folder / name) for name in (ROWS, DECISIONS, EVALUATIONS)]
    updated = max((found[2] for found in files if found is not None), default=0)
    return time.time() - updated / 1e9 < LATELY_S


def _is_locked(file: Path) -> bool | None:
    """True if a process of this machine has a lock on a file; None where the system does not tell.

    The lock is not tried: for the moment of a trial, a driver that starts would be refused.
    """
    try:
        inode, locks = file.stat().st_ino, _LOCKS.read_text(encoding="ascii")
    except OSError:
        return None
    return re.search(rf" [0-9a-f]+:[0-9a-f]+:{inode} ", locks) is not None


def failure(folder: Path) -> str | None:
    """Last line of the trace that a failed run, or trial, left in its folder; None without one."""
    if regular_file(folder / TRACE) is None:
        return None
    with (folder / TRACE).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _LONGEST_TRACE))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:500] if lines else "it left an empty trace"
