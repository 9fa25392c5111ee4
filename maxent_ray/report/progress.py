"""Live progress of a population: a table with a row for every trial, a bar for the whole job.

On a terminal the display refreshes in place. Elsewhere, as in a job's log, a line is printed every few seconds, and
the table with it every few minutes and at the end. Values that are missing or not finite are shown as a dash: a display
must never stop the training that it shows.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.text import Text

from maxent_ray.repeating import Repeating
from maxent_ray.report import log_lines
from maxent_ray.report.numbers import number
from maxent_ray.report.plain_output import PlainOutput
from maxent_ray.report.progress_bar import progress_bar, steps_and_times
from maxent_ray.report.progress_line import progress_line
from maxent_ray.report.progress_table import WIDE, TrialLine, line_order, progress_table
from maxent_ray.report.timing import TimeLeft
from maxent_ray.telemetry import Telemetry

PLAIN_WIDTH = WIDE
PLAIN_EVERY_S, PLAIN_TABLE_EVERY_S = 15.0, 300.0
"""Seconds between two lines, and between two tables, where there is no terminal."""
REFRESH_PER_SECOND = 4.0
_LINES_AROUND = 7  # title, header, rule, phase, bar, and a blank line or two


class Progress:
    """Display of a population in training; a :class:`~maxent_ray.storage.row_listener.RowListener`.

    Args:
        total_steps: Policy steps of the whole job: all trials and references together.
        steps_per_trial: Policy steps of one trial.
        console: Where to write; None for standard output.
        now: The clock, in seconds.

    Example:
        >>> with Progress(total_steps=60, steps_per_trial=60) as progress:  # doctest: +SKIP
        ...     progress.phase("population")
        ...     progress.update("analytic-0", "analytic", {"step": 4, "seconds": 0.4}, clones=0)
        ...     progress.advance(5)
    """

    def __init__(
        self,
        total_steps: int,
        steps_per_trial: int,
        *,
        console: Console | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console if console is not None else Console()
        self._steps_per_trial = steps_per_trial
        self._now = now
        self._lock = threading.RLock()
        self._lines: dict[str, TrialLine] = {}
        self._phase = "starting"
        self._started = now()
        self._left = TimeLeft(total_steps)
        self._step_seconds: float | None = None
        self._handlers: log_lines.Moved = []
        self._telemetry = Telemetry("progress cannot be shown; training continues")
        self._plain = PlainOutput(self.console, self._plain_when_due, now, PLAIN_EVERY_S)
        self._table_due = now() + PLAIN_TABLE_EVERY_S
        self._reminders = Repeating(self._print_plain_when_due, PLAIN_EVERY_S, "maxent-ray-progress")
        self._live = self._make_live() if self.console.is_terminal and not self.console.is_dumb_terminal else None

    def __enter__(self) -> Progress:
        self._started = self._now()
        self._left.start(self._started)
        if self._live is not None:
            with self._telemetry.attempt():
                before = log_lines.streams()
                self._live.start(refresh=True)
                self._handlers = log_lines.follow(before)
        else:
            self._reminders.start()  # a line now and then while nothing happens, as before the first step
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reminders.end()
        if self._live is not None:
            with self._telemetry.attempt():
                self._live.stop()
            log_lines.restore(self._handlers)
        else:
            self._table_due = self._now()
            self._print_plain()

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None:
        """Show the newest step of a trial.

        Args:
            trial: Its short name, as ``analytic-0``.
            objective: The objective that it follows now.
            row: ``StepRecord.to_dict()``; what is missing, None or not finite shows as a dash.
            clones: Clones that it has received so far.
        """
        with self._lock:
            self._step_seconds = number(row.get("seconds")) or self._step_seconds
            before = self._lines.get(trial, TrialLine(trial))
            self._lines[trial] = TrialLine(trial, objective, row, clones, before.state)
        self._print_plain_when_due()

    def state(self, trial: str, state: str) -> None:
        """Show a trial's state: running, paused, done, stopped (early) or failed."""
        with self._lock:
            line = replace(self._lines.get(trial, TrialLine(trial)), state=state)
            self._lines[trial] = line
            if state == "stopped":
                self._left.skip(self._steps_per_trial - line.steps)

    def phase(self, text: str) -> None:
        """Show the job's phase: population, references, held-out evaluation."""
        with self._lock:
            self._phase = text
        self._print_plain()

    def advance(self, steps: int, *, replayed: bool = False) -> None:
        """Count policy steps of the whole job. Call `update` first: its row has the time of a step.

        Args:
            steps: Steps done since the last call.
            replayed: They were done by the interrupted run that this one resumes.
        """
        with self._lock:
            if replayed:
                self._left.replay(steps)
            else:
                self._left.advance(steps, self._now(), self._step_seconds)
        self._print_plain_when_due()

    def render(self, width: int, height: int | None = None) -> Group:
        """Make the table, the phase and the bar.

        Args:
            width: Columns; on a narrow terminal names are shortened and pairs packed closer.
            height: Lines there are; trials that do not fit are counted instead. None for no limit.
        """
        with self._lock:
            lines = sorted(self._lines.values(), key=line_order)
            room = len(lines) if height is None else max(1, height - _LINES_AROUND)
            table = progress_table(lines[:room], self._steps_per_trial, width)
            hidden = len(lines) - min(room, len(lines))
            rest = [Text(f"… and {hidden} more", style="dim")] if hidden else []
            phase = Text.assemble(("now: ", "dim"), (self._phase, "bold"))
            return Group(table, *rest, phase, progress_bar(self._left, self._started, self._now(), width))

    def shown(self, width: int, height: int) -> Group:
        """Make the same, or nothing where that fails: the thread that refreshes the display must not die."""
        shown = Group()
        with self._telemetry.attempt():
            shown = self.render(width, height)
        return shown

    def line(self) -> str:
        """Write one line for a log."""
        with self._lock:
            times = steps_and_times(self._left, self._started, self._now())
            return progress_line(times, self._phase, list(self._lines.values()))

    def plain(self) -> str:
        """Write the line and the table as text without control codes."""
        console = Console(
            file=io.StringIO(),
            width=PLAIN_WIDTH,
            force_terminal=False,
            color_system=None,
            legacy_windows=False,
        )
        with console.capture() as capture, self._lock:
            if self._lines:
                console.print(self.render(PLAIN_WIDTH).renderables[0])
        lines = (line.rstrip() for line in capture.get().splitlines())
        return "\n".join([self.line(), *(line for line in lines if line)])

    def _plain_when_due(self) -> str:
        if self._now() < self._table_due:
            return self.line()
        self._table_due = self._now() + PLAIN_TABLE_EVERY_S
        return self.plain()

    def _make_live(self) -> Live:
        return Live(
            _Display(self), console=self.console, refresh_per_second=REFRESH_PER_SECOND, vertical_overflow="crop"
        )

    def _print_plain_when_due(self) -> None:
        if self._live is None:
            with self._lock, self._telemetry.attempt():
                self._plain.print_when_due()

    def _print_plain(self) -> None:
        if self._live is None:
            with self._lock, self._telemetry.attempt():
                self._plain.print()


class _Display:
    """Renders the newest progress at every refresh, in the width that the terminal has then."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._progress.shown(options.max_width, options.size.height)
