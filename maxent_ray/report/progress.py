"""Live progress of a population: a row for every trial, a bar for the whole job.

On a terminal the display refreshes in place; elsewhere (a pipe, a log file, continuous integration) the same
table is printed as plain text now and then. Values that are missing or not finite are shown as a dash: a
display must never stop the training that it shows.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from maxent_ray.report import log_lines
from maxent_ray.report.run_records import REFERENCES, natural_key, number
from maxent_ray.report.timing import TimeLeft, clock

PLAIN_WIDTH = 110
PLAIN_EVERY_S = 15.0
REFRESH_PER_SECOND = 4.0
_STATE_STYLES = {"running": "green", "paused": "yellow", "done": "dim", "failed": "bold red"}
_SPACIOUS = 116
_NARROW = 92
_LINES_AROUND = 7  # title, header, rule, phase, bar, and a blank line or two


@dataclass(frozen=True)
class TrialLine:
    """What the table says about one trial."""

    trial: str
    objective: str = ""
    steps: int | None = None
    reward: float | None = None
    entropy: float | None = None
    target_entropy: float | None = None
    kl: float | None = None
    target_kl: float | None = None
    tau: float | None = None
    beta: float | None = None
    clones: int = 0
    state: str = "running"


class Progress:
    """Shows how a population is doing while it trains.

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
        self._printed: float | None = None
        self._reader_gone = False
        self._handlers: log_lines.Moved = []
        self._live = (
            Live(
                _Display(self),
                console=self.console,
                refresh_per_second=REFRESH_PER_SECOND,
                vertical_overflow="crop",
            )
            if self.console.is_terminal and not self.console.is_dumb_terminal
            else None
        )

    def __enter__(self) -> Progress:
        self._started = self._now()
        self._left.start(self._started)
        if self._live is not None:
            before = log_lines.streams()
            self._live.start(refresh=True)
            self._handlers = log_lines.follow(before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            log_lines.restore(self._handlers)
        else:
            self._print_plain()

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None:
        """Show the newest step of a trial.

        Args:
            trial: Its short name, as ``analytic-0``.
            objective: The objective that it follows now.
            row: ``StepRow.to_dict()``; what is missing, None or not finite shows as a dash.
            clones: Clones that it has received so far.
        """
        step = number(row.get("step"))
        with self._lock:
            self._step_seconds = number(row.get("seconds")) or self._step_seconds
            self._lines[trial] = TrialLine(
                trial=trial,
                objective=objective,
                steps=None if step is None else int(step) + 1,
                reward=number(row.get("reward")),
                entropy=number(row.get("entropy")),
                target_entropy=number(row.get("target_entropy")),
                kl=number(row.get("kl")),
                target_kl=number(row.get("target_kl")),
                tau=number(row.get("tau")),
                beta=number(row.get("beta")),
                clones=clones,
                state=self._lines[trial].state if trial in self._lines else "running",
            )
        self._print_plain_when_due()

    def state(self, trial: str, state: str) -> None:
        """Say what a trial is doing: running, paused, done or failed."""
        with self._lock:
            self._lines[trial] = replace(self._lines.get(trial, TrialLine(trial)), state=state)

    def phase(self, text: str) -> None:
        """Say what the job is doing: population, references, held-out evaluation."""
        with self._lock:
            self._phase = text
        if self._live is None:
            self._print_plain()

    def advance(self, steps: int, *, replayed: bool = False) -> None:
        """Count policy steps of the whole job. Call `update` first: it says how long a step took.

        Args:
            steps: Steps done since the last call.
            replayed: They were done by the interrupted run that this one goes on with.
        """
        with self._lock:
            if replayed:
                self._left.replay(steps)
            else:
                self._left.advance(steps, self._now(), self._step_seconds)
        self._print_plain_when_due()

    def render(self, width: int, height: int | None = None) -> Group:
        """The table, the phase and the bar.

        Args:
            width: Columns; on a narrow terminal names are shortened and pairs packed closer.
            height: Lines there are; trials that do not fit are counted instead. None for no limit.
        """
        with self._lock:
            lines = sorted(self._lines.values(), key=_table_order)
            room = len(lines) if height is None else max(1, height - _LINES_AROUND)
            table = trial_table(lines[:room], self._steps_per_trial, width)
            hidden = len(lines) - min(room, len(lines))
            rest = [Text(f"… and {hidden} more", style="dim")] if hidden else []
            return Group(table, *rest, self._phase_line(), self._bar(width))

    def plain(self) -> str:
        """The same as text without control codes, for logs."""
        console = Console(
            file=io.StringIO(),
            width=PLAIN_WIDTH,
            force_terminal=False,
            color_system=None,
            legacy_windows=False,
        )
        with console.capture() as capture, self._lock:
            console.print(Text(self._bar_text()))
            if self._lines:
                console.print(self.render(PLAIN_WIDTH).renderables[0])
        lines = (line.rstrip() for line in capture.get().splitlines())
        return "\n".join(line for line in lines if line) + "\n"

    def _phase_line(self) -> Text:
        return Text.assemble(("now: ", "dim"), (self._phase, "bold"))

    def _bar(self, width: int) -> Table:
        now = self._now()
        grid = Table.grid(padding=(0, 1))
        done, total = min(self._left.done, self._left.total), self._left.total
        grid.add_row(
            ProgressBar(total=max(1, total), completed=done, width=max(10, width - 66)),
            f"{_share(done, total)}  {done} of {total} policy steps",
            f"{clock(now - self._started)} so far, {clock(self._left.at(now))} left",
        )
        return grid

    def _bar_text(self) -> str:
        now = self._now()
        done, total = min(self._left.done, self._left.total), self._left.total
        filled = round(20 * done / max(1, total))
        return (
            f"[{'#' * filled}{'.' * (20 - filled)}] {_share(done, total)}  {done} of {total} policy steps, "
            f"{clock(now - self._started)} so far, {clock(self._left.at(now))} left -- {self._phase}"
        )

    def _print_plain_when_due(self) -> None:
        if self._live is not None:
            return
        with self._lock:
            due = self._printed is None or self._now() - self._printed >= PLAIN_EVERY_S
        if due:
            self._print_plain()

    def _print_plain(self) -> None:
        with self._lock:
            self._printed = self._now()
            if self._reader_gone:
                return
            encoding = self.console.encoding
            text = self.plain().encode(encoding, errors="replace").decode(encoding)
            # Whoever reads may leave (`| head`): then nobody is shown anything, and the training goes on.
            with contextlib.suppress(OSError):
                self.console.file.write(text + "\n")
                self.console.file.flush()
                return
            self._reader_gone = True


class _Display:
    """Renders the newest progress at every refresh, in the width that the terminal has then."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._progress.render(options.max_width, options.size.height)


def trial_table(lines: list[TrialLine], steps_per_trial: int, width: int) -> Table:
    """One row for every trial."""
    wide, narrow = width >= PLAIN_WIDTH, width < _NARROW
    pair = " / " if width >= _SPACIOUS else "/"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    renamed = any(not line.trial.startswith(line.objective) for line in lines)
    table.add_column("trial", no_wrap=True, min_width=12)
    if wide or renamed:
        table.add_column("objective", no_wrap=True)
    for header in ("step", "reward", f"H{pair}H*", f"KL{pair}KL*", "τ", "β"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("cl" if narrow else "clones", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for line in lines:
        cells: list[str | Text] = [line.trial.replace("_backprop", "") if narrow else line.trial]
        if wide or renamed:
            cells.append(line.objective or "–")
        cells += [
            "–" if line.steps is None else f"{line.steps}/{steps_per_trial}",
            _digits(line.reward, 2),
            _against(line.entropy, line.target_entropy, 2, pair, good=0.03, fair=0.10),
            _against(line.kl, line.target_kl, 3, pair, good=0.15, fair=0.40),
            significant(line.tau),
            significant(line.beta),
            str(line.clones),
            Text(line.state, style=_STATE_STYLES.get(line.state, "")),
        ]
        table.add_row(*cells)
    return table


def _table_order(line: TrialLine) -> tuple[bool, tuple[str, int, str]]:
    """The population first, then the references."""
    return line.trial in REFERENCES or line.objective in REFERENCES, natural_key(line.trial)


def significant(value: float | None) -> str:
    """Three significant digits in at most seven characters.

    Example:
        >>> significant(0.29871), significant(0.00012345), significant(41.27), significant(None)
        ('0.299', '0.00012', '41.3', '–')
    """
    if value is None:
        return "–"
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.5f}" if abs(value) >= 1e-4 else f"{value:.0e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _digits(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _against(
    value: float | None, target: float | None, decimals: int, pair: str, *, good: float, fair: float
) -> Text:
    """A measurement and its target, coloured by their relative distance."""
    text = f"{_digits(value, decimals)}{pair}{_digits(target, decimals)}"
    if value is None or target is None or target <= 0:
        return Text(text)
    distance = abs(value - target) / target
    return Text(text, style="green" if distance <= good else "yellow" if distance <= fair else "red")


def _share(done: int, total: int) -> str:
    return f"{100 * done // max(1, total):d} %"
