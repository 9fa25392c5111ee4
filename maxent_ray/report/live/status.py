"""Status of a run, from what its folder tells: it is read, locked by none and changed in nothing."""

from __future__ import annotations

import os
import socket
import time
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from maxent_ray.report.timing import clock
from maxent_ray.storage.driver_lock import read_holder
from maxent_ray.storage.run_files import ROWS, SUMMARY


class State(Enum):
    """State of a run."""

    RUNNING = "running"
    FINISHED = "finished"
    ENDED = "not finished"
    UNKNOWN = "unknown"


class Status(NamedTuple):
    """State of a run, in a sentence too."""

    state: State
    sentence: str


def run_status(folder: Path, *, all_done: bool, command: str) -> Status:
    """Tell whether a run goes on.

    Args:
        folder: ``results/<name>``.
        all_done: Every planned trial has been evaluated, or was stopped early.
        command: Subcommand that resumes it.
    """
    pid, _, host = read_holder(folder).strip().partition(" ")
    written = modified(folder / ROWS)
    if all_done or (written and modified(folder / SUMMARY) >= written):
        return Status(State.FINISHED, "finished")
    since = f"; last row {clock(time.time() - written)} ago" if written else "; no row yet"
    if host != socket.gethostname() or not pid.isdecimal():
        where = f"on {host}" if host else "elsewhere, or has ended"
        return Status(State.UNKNOWN, f"written {where}{since}")
    if is_alive(int(pid)):
        return Status(State.RUNNING, f"running, process {pid}{since}")
    advice = f"maxent-ray {command} --resume {folder} continues"
    return Status(State.ENDED, f"not finished, and its process has ended{since}: {advice}")


def is_alive(pid: int) -> bool:
    """True while a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def modified(path: Path) -> float:
    """Time of the last change of a file; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
