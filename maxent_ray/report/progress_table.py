"""Table of a live display: one line for each trial, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from maxent_ray.core.signals import REWARDS, deviation, target_of
from maxent_ray.report.formatting import DASH, fixed, significant
from maxent_ray.report.labels import REFERENCES
from maxent_ray.report.numbers import natural_key, number

WIDE = 110
"""Columns that a table with all columns takes."""
_SPACIOUS, _NARROW = 116, 92
_STATE_STYLES = {"running": "green", "paused": "yellow", "done": "dim", "stopped": "magenta", "failed": "bold red"}


@dataclass(frozen=True)
class TrialLine:
    """Newest state of one trial."""

    trial: str
    objective: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)
    """Newest row; what is missing, None or not finite shows as a dash."""
    clones: int = 0
    state: str = "running"

    def __getitem__(self, signal: str) -> float | None:
        return number(self.row.get(signal))

    @property
    def reward(self) -> float | None:
        """Reward or episode return, whichever its training has."""
        return next((value for name in REWARDS.values() if (value := self[name]) is not None), None)

    @property
    def steps(self) -> int:
        """Policy steps done."""
        step = self["step"]
        return 0 if step is None else int(step) + 1


def progress_table(lines: Sequence[TrialLine], steps_per_trial: int, width: int) -> Table:
    """Make the table.

    Args:
        lines: One for each trial, in the order in which they are shown.
        steps_per_trial: Policy steps of one trial; 0 where they are not known.
        width: Columns of the terminal; on a narrow one names are shortened and pairs packed closer.
    """
    narrow = width < _NARROW
    named = width >= WIDE or any(not line.trial.startswith(line.objective) for line in lines)
    pair = " / " if width >= _SPACIOUS else "/"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("trial", no_wrap=True, min_width=12)
    if named:
        table.add_column("objective", no_wrap=True)
    for header in ("step", "reward", f"H{pair}H*", f"KL{pair}KL*", "τ", "β"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("cl" if narrow else "clones", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for line in lines:
        table.add_row(
            line.trial.replace("_backprop", "") if narrow else line.trial,
            *([line.objective or DASH] if named else []),
            _steps(line, steps_per_trial),
            fixed(line.reward, 2),
            _against_target(line, "entropy", 2, pair, good=0.03, fair=0.10),
            _against_target(line, "kl", 3, pair, good=0.15, fair=0.40),
            significant(line["tau"]),
            significant(line["beta"]),
            str(line.clones),
            Text(line.state, style=_STATE_STYLES.get(line.state, "")),
        )
    return table


def line_order(line: TrialLine) -> tuple[bool, tuple[str, int, str]]:
    """Sort key: the population first, then the references."""
    return line.trial in REFERENCES or line.objective in REFERENCES, natural_key(line.trial)


def _steps(line: TrialLine, steps_per_trial: int) -> str:
    if line["step"] is None:
        return DASH
    return f"{line.steps}/{steps_per_trial}" if steps_per_trial else str(line.steps)


def _against_target(line: TrialLine, signal: str, decimals: int, pair: str, *, good: float, fair: float) -> Text:
    """Write a signal and its target, coloured by their relative distance."""
    value, target = line[signal], line[target_of(signal)]
    text = f"{fixed(value, decimals)}{pair}{fixed(target, decimals)}"
    error = deviation(line, signal)
    if error is None:
        return Text(text)
    distance = abs(error)
    return Text(text, style="green" if distance <= good else "yellow" if distance <= fair else "red")
