"""Status of a run, told from its files, which are neither locked nor changed: it is running, or how it ended."""

from __future__ import annotations

import os
import re
import shlex
import socket
import time
from collections.abc import Collection, Set
from pathlib import Path
from typing import Literal, NamedTuple

from maxent_ray.report.numbers import natural_key
from maxent_ray.storage.driver_lock import LOCK, read_holder
from maxent_ray.storage.growing_file import regular_file
from maxent_ray.storage.run_files import (
    DECISIONS,
    EVALUATIONS,
    LINEAGE,
    ROWS,
    RUNGS,
    SUMMARY,
    TRACE,
    TRIALS,
    TUNE_FOLDER,
    trial_of,
)

State = Literal["running", "finished", "failed", "interrupted", "unreadable"]
LATELY_S = 120.0
"""Without a lock to go by (another machine's run, a copied folder), a run whose records grew since then is running."""
_RESUMED_BY = {"train": "maxent-ray train ", "compare": "maxent-ray compare ", "sweep": "maxent-ray sweep "}
"""Command → what continues its run; any other was started by a script, which has the option."""
_LOCKS = Path("/proc/locks")
_LONGEST_TRACE = 20_000


class Status(NamedTuple):
    """State of a run, and a sentence where one is needed."""

    state: State
    message: str = ""


def run_status(
    folder: Path,
    *,
    trials: Set[str],
    done: Set[str],
    failed: Collection[str],
    command: str,
    open_ended: bool = False,
) -> Status:
    """Tell whether a run goes on, else how it ended and what continues it.

    Args:
        folder: ``results/<name>``.
        trials: Those that are planned, or on record.
        done: Those that were evaluated, or stopped early.
        failed: Those of :func:`failed_trials`.
        command: As :func:`command_of` has it.
        open_ended: The length of the run is not known beforehand: it has ended when its driver has.
    """
    if is_running(folder):
        return Status("running")
    resumed_by = _RESUMED_BY.get(command, "")
    resume = f"continue it with {resumed_by}--resume {shlex.quote(str(folder))}"
    if (trace := failure(folder)) is not None:
        return Status("failed", f"The run failed: {trace}; once the cause is gone, {resume}")
    if failed:
        names = ", ".join(failed)
        return Status("failed", f"{len(failed)} trial(s) failed ({names}); once the cause is gone, {resume}")
    if trials and (open_ended or (done >= trials and (folder / SUMMARY).is_file())):
        return Status("finished")
    holder = read_holder(folder)
    if trials and (holder is None or holder.host != socket.gethostname()):
        where = "elsewhere" if holder is None else f"on {holder.host}"
        return Status("interrupted", f"Nothing was recorded lately; unless its driver {where} is at work, {resume}")
    state = "It was interrupted" if trials else "Nothing was recorded yet, and no driver is at work"
    return Status("interrupted", f"{state}: {resume}")


def command_of(folder: Path, planned: str | None) -> str:
    """Command that made a run; empty where it was not yet recorded.

    Args:
        folder: ``results/<name>``.
        planned: The command of its planned trials; None if there are none.
    """
    if planned is not None:
        return planned
    return "" if any((folder / name).exists() for name in (TUNE_FOLDER, LINEAGE)) else "train"


def is_running(folder: Path) -> bool:
    """True if a driver of this machine holds the folder's lock; of another machine's, if its records grew lately."""
    holder = read_holder(folder)
    if holder and holder.host == socket.gethostname() and (held := _is_locked(folder / LOCK)) is not None:
        return held
    return time.time() - last_written(folder) < LATELY_S


def last_written(folder: Path) -> float:
    """Time in seconds at which a record of a run last grew; 0 before the first."""
    files = [regular_file(folder / name) for name in (ROWS, DECISIONS, EVALUATIONS, TRIALS, RUNGS)]
    return max((found[2] for found in files if found is not None), default=0) / 1e9


def failed_trials(folder: Path, finished: Collection[str]) -> dict[str, str]:
    """Trial → last line of its trace: those that failed and have not finished since, in natural order."""
    tune = folder / TUNE_FOLDER
    names = {each.name for each in os.scandir(tune) if each.is_dir()} if tune.is_dir() else set()
    unfinished = sorted(names - {trial_of(name) for name in finished}, key=natural_key)
    return {trial: trace for trial in unfinished if (trace := failure(tune / trial)) is not None}


def failure(folder: Path) -> str | None:
    """Last line of the trace that a failed run, or trial, left in its folder; None without one."""
    if regular_file(folder / TRACE) is None:
        return None
    with (folder / TRACE).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _LONGEST_TRACE))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:500] if lines else "it left an empty trace"


def _is_locked(file: Path) -> bool | None:
    """True if a process of this machine has a lock on a file; None where the system does not tell.

    The lock is not tried: for the moment of a trial, a driver that starts would be refused.
    """
    try:
        inode, locks = file.stat().st_ino, _LOCKS.read_text(encoding="ascii")
    except OSError:
        return None
    return re.search(rf" [0-9a-f]+:[0-9a-f]+:{inode} ", locks) is not None
