"""Picture of a run in a terminal: status, progress, trials, curves, decisions, alarms, held-out metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.core.signals import target_of
from maxent_ray.report.formatting import DASH, fixed, significant
from maxent_ray.report.labels import metric_label, objective_colour, objective_label, objective_order
from maxent_ray.report.live.braille import curve
from maxent_ray.report.live.live_run import LiveRun
from maxent_ray.report.live.series import Series
from maxent_ray.report.numbers import natural_key, number
from maxent_ray.report.progress_bar import progress_bar
from maxent_ray.report.progress_table import line_order, progress_table
from maxent_ray.report.run_status import Status
from maxent_ray.report.timing import clock
from maxent_ray.storage.driver_lock import read_holder
from maxent_ray.storage.growing_file import regular_file
from maxent_ray.storage.run_files import ROWS

_STATE_STYLES = {"running": "green", "finished": "bold", "failed": "red", "interrupted": "yellow"}
_PANELS = (("H", "entropy", False), ("KL", "kl", False), ("τ", "tau", True), ("β", "beta", True))
"""Name, signal, and whether its axis is logarithmic."""
_TARGETED = ("entropy", "kl")
_LATEST = 3
"""Decisions and alarms that are shown."""
_CURVE_LINES = 3
_FIXED_LINES = 6
"""Of the status, the bar, headings and blank lines."""


def picture(run: LiveRun, width: int, height: int | None = None) -> Group:
    """Make the whole picture.

    Args:
        run: As it is now.
        width: Columns.
        height: Lines that there are; parts that do not fit are left out, the last ones first. None for no limit.
    """
    status = run.status()
    heading = _heading(run, status)
    parts = [heading, *_bar(run, width), Text()]
    room = None if height is None else max(1, height - _FIXED_LINES - heading.cell_len // width)
    table, lines = _trials(run, status, width, room)
    parts.append(table)
    for part, needed in _rest(run, width):
        if room is None or lines + needed <= room:
            parts += [Text(), *part]
            lines += needed + 1
    return Group(*parts)


def _heading(run: LiveRun, status: Status) -> Text:
    text = Text.assemble((str(run.folder), "bold"), "  ", (_told(run, status), _STATE_STYLES[status.state]))
    if run.torn:
        text.append(f"  ({run.torn} line(s) of the records cannot be read)", "dim")
    return text


def _told(run: LiveRun, status: Status) -> str:
    """Status in words, of a run that goes on with its process, and how old the newest row is."""
    if status.state == "finished":
        return status.state
    told, row = status.message, regular_file(run.folder / ROWS)
    if status.state == "running":
        holder = read_holder(run.folder)
        told = f"running, process {holder.process} on {holder.host}" if holder else "running"
    return f"{told} ({f'last row {clock(time.time() - row[2] / 1e9)} ago' if row else 'no row yet'})"


def _bar(run: LiveRun, width: int) -> Iterator[RenderableType]:
    if run.left is None:
        yield Text("no row yet: workers are starting, or the run ended before its first step", "dim")
    elif run.config.train.steps is None:
        yield Text(f"{run.left.done} steps, {clock((run.ended or time.time()) - run.started)} so far")
    else:
        yield progress_bar(run.left, run.started, run.ended or time.time(), width)


def _trials(run: LiveRun, status: Status, width: int, room: int | None) -> tuple[Group, int]:
    """The table of trials, and its lines; at most half of the room, unless that is not needed by other parts."""
    lines = sorted(run.lines(status), key=line_order)
    most = len(lines) if room is None else max(1, room // 2)
    shown = lines[:most]
    rest = [Text(f"… and {len(lines) - most} more", style="dim")] if len(lines) > most else []
    return Group(progress_table(shown, run.config.train.steps or 0, width), *rest), len(shown) + 2 + len(rest)


def _rest(run: LiveRun, width: int) -> Iterator[tuple[Sequence[RenderableType], int]]:
    """The further parts with their lines, the most important ones first."""
    alarms = _alarms(run)
    if alarms:
        yield alarms, len(alarms)
    leaders = run.leaders()
    for objective in sorted(leaders, key=objective_order):
        yield _curves(run, objective, leaders[objective], width), _CURVE_LINES + 2
    if run.evaluations and run.config.held_out_samples is not None:
        yield [_held_out(run, run.config.held_out_samples)], len(run.evaluations) + 2
    decisions = _decisions(run)
    if decisions:
        yield decisions, len(decisions)


def _curves(run: LiveRun, objective: str, trial: str, width: int) -> list[RenderableType]:
    """H, KL, τ and β of an objective's leading trial, side by side."""
    columns, style = max(8, width // len(_PANELS) - 2), objective_colour(objective)
    grid = Table.grid(padding=(0, 2))
    for _ in _PANELS:
        grid.add_column(width=columns, no_wrap=True, overflow="crop")
    panels = [_panel(run.curves[trial], *panel, columns, style) for panel in _PANELS]
    for line in zip(*panels, strict=True):
        grid.add_row(*line)
    heading = objective_label(objective) if trial == objective else f"{objective_label(objective)} ({trial})"
    return [Text(heading, style=f"bold {style}"), grid]


def _panel(curves: Mapping[str, Series], name: str, signal: str, log: bool, columns: int, style: str) -> list[Text]:
    """Newest value, with its target, and the curve."""
    own, against = curves[signal], curves[target_of(signal)] if signal in _TARGETED else None
    heading = f"{name} {significant(own.last)}"
    if against is not None and against.last is not None:
        heading += f"  {name}* {significant(against.last)}"
    targets = [] if against is None else against.values
    return [Text(heading, style="dim"), *curve(own.values, targets, columns, _CURVE_LINES, colour=style, log=log)]


def _alarms(run: LiveRun) -> list[Text]:
    latest = list(run.alarms)[-_LATEST:]
    return [Text(f"! {trial}: {alarm.get('message', alarm.get('kind'))}", style="yellow") for trial, alarm in latest]


def _done(step: object) -> str:
    """Policy steps done, as everywhere else: records count from 0."""
    return str(step + 1) if isinstance(step, int) else DASH


def _decisions(run: LiveRun) -> list[Text]:
    latest = list(run.decisions)[-_LATEST:]
    return [
        Text.assemble(
            (f"{decision['trial']} step {_done(decision.get('step'))}: ", "dim"),
            str(decision["reason"]),
            (f"  τ {significant(number(decision.get('tau')))}, β {significant(number(decision.get('beta')))}", "dim"),
        )
        for decision in latest
    ]


def _held_out(run: LiveRun, samples: int) -> Table:
    """Held-out metrics of the trials that have been evaluated, the highest coverage first; no intervals."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("held-out", no_wrap=True)
    for metric in METRICS:
        table.add_column(metric_label(metric, samples), justify="right", no_wrap=True)
    for trial in sorted(run.evaluations, key=natural_key):
        metrics = run.evaluations[trial]["metrics"]
        table.add_row(trial, *(fixed(number(metrics.get(metric)), 3) for metric in METRICS))
    return table
