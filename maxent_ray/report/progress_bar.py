"""Progress bar of a job that is counted in policy steps, with the time that it has taken and still takes."""

from __future__ import annotations

from rich.progress_bar import ProgressBar
from rich.table import Table

from maxent_ray.report.timing import TimeLeft, clock

_BESIDE = 66
"""Columns of the text beside the bar."""


def progress_bar(left: TimeLeft, started: float, now: float, width: int) -> Table:
    """Make the bar for a terminal.

    Args:
        left: Steps done, and the time left.
        started: When the job started, in seconds on the clock of `now`.
        now: The time.
        width: Columns of the terminal.
    """
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, left.total), completed=_done(left), width=max(10, width - _BESIDE))
    grid.add_row(bar, _steps(left), ", ".join(_times(left, started, now)))
    return grid


def steps_and_times(left: TimeLeft, started: float, now: float) -> str:
    """Write the same as plain text, without a bar, arguments as in `progress_bar`."""
    return ", ".join((_steps(left), *_times(left, started, now)))


def _done(left: TimeLeft) -> int:
    return min(left.done, left.total)


def _steps(left: TimeLeft) -> str:
    done = _done(left)
    return f"{100 * done // max(1, left.total):d} %  {done} of {left.total} policy steps"


def _times(left: TimeLeft, started: float, now: float) -> tuple[str, str]:
    return f"{clock(now - started)} so far", f"{clock(left.at(now))} left"
