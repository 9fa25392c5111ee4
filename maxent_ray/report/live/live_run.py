"""State of a run that is being recorded, kept up to date by reading what was added."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from itertools import islice
from pathlib import Path

from maxent_ray.config import RecordedConfig, load_recorded
from maxent_ray.errors import ConfigError
from maxent_ray.report.labels import WARM_START
from maxent_ray.report.live.series import Series
from maxent_ray.report.numbers import natural_key, number
from maxent_ray.report.progress_table import TrialLine
from maxent_ray.report.run_records import PLACES, Planned, Stopped, early_stops, planned_of
from maxent_ray.report.run_status import Status, command_of, failed_trials, last_written, run_status
from maxent_ray.report.timing import TimeLeft
from maxent_ray.storage import run_files
from maxent_ray.storage.growing_file import GrowingFile
from maxent_ray.storage.json_lines import Record, parse_lines
from maxent_ray.storage.run_files import CONFIG, DECISIONS, EVALUATIONS, ROWS, RUNGS, TRIALS, trial_of

CURVES = ("entropy", "target_entropy", "kl", "target_kl", "tau", "beta")
LATEST = 50
"""Decisions and alarms that are kept."""
RECENT = 0.1
"""Weight of the newest row in a trial's recent score."""


class LiveRun:
    """A run, read again and again.

    Args:
        folder: ``results/<name>``.

    Raises:
        ConfigError: there is no run, or one that this version cannot read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_config(folder)
        self._score = self.config.score_signal
        self.started = (folder / CONFIG).stat().st_mtime
        self._clear()

    def _clear(self) -> None:
        self._files = [GrowingFile(self.folder / name) for name in (TRIALS, ROWS, DECISIONS, RUNGS, EVALUATIONS)]
        self.torn = 0
        """Lines that could not be read."""
        self._rows: dict[str, Record] = {}
        """Trial → its newest row, of rank 0."""
        self.curves: dict[str, dict[str, Series]] = defaultdict(lambda: {name: Series() for name in CURVES})
        self.scores: dict[str, float] = {}
        """Trial → moving average of the metric that trials are compared by."""
        self.planned: dict[str, Planned] = {}
        self.stops: dict[str, Stopped] = {}
        self.evaluations: dict[str, Record] = {}
        self.decisions: deque[Record] = deque(maxlen=LATEST)
        self.alarms: deque[tuple[str, Record]] = deque(maxlen=LATEST)
        self.failed: dict[str, str] = {}
        """Trial → last line of its trace."""
        self._command: str | None = None
        self.left: TimeLeft | None = None

    def update(self) -> bool:
        """Read what was added, of a long record a part; False when there was nothing.

        Raises:
            ConfigError: the folder is gone.
        """
        if any(file.was_replaced() for file in self._files):
            self._clear()
        added = [(file.path.name, block) for file in self._files for block in islice(file.new_blocks(), 1)]
        if not (self.folder / CONFIG).is_file():
            raise ConfigError(
                f"{self.folder} is gone: it was moved, renamed or removed while it was watched; give the folder where "
                "it is now"
            )
        for name, block in added:
            records, torn = parse_lines(block.data)
            self.torn += torn
            for record in records:
                if all(isinstance(record.get(field), kind) for field, kind in PLACES[name].items()):
                    self._take(name, record)
        if added:
            self._advance()
        return bool(added)

    @property
    def ended(self) -> float | None:
        """Time at which a run that does not go on was last written to; None while it may go on."""
        return None if self.status().state == "running" else last_written(self.folder)

    def status(self) -> Status:
        """Status of the run, as its files tell it."""
        self.failed = failed_trials(self.folder, self.evaluations)
        return run_status(
            self.folder,
            trials=self._rows.keys() | self.planned.keys() | self.evaluations.keys(),
            done=self.evaluations.keys() | self.stops.keys(),
            failed=self.failed,
            command=command_of(self.folder, self._command),
            open_ended=self.config.train.steps is None,
        )

    def lines(self, status: Status) -> list[TrialLine]:
        """All trials, those that have not begun included."""
        names = sorted({*self._rows, *self.planned, *self.evaluations}, key=natural_key)
        return [self._line(name, status) for name in names]

    def leaders(self) -> dict[str, str]:
        """Objective → its trial with the highest recent score, among those that were not stopped if there are any."""
        ranked = sorted(self._rows, key=lambda trial: (trial not in self.stops, self.scores.get(trial, 0.0)))
        return {self._rows[trial]["objective"]: trial for trial in ranked}

    def _take(self, name: str, record: Record) -> None:
        match name:
            case run_files.ROWS:
                self._take_row(record)
            case run_files.TRIALS:
                self.planned[record["trial"]] = planned_of(record)
                self._command = record["command"]
            case run_files.DECISIONS:
                self.decisions.append(record)
                self.alarms.extend((record["trial"], alarm) for alarm in record.get("alarms") or ())
            case run_files.RUNGS:
                self.stops |= early_stops([record])
            case run_files.EVALUATIONS:
                self.evaluations[record["trial"]] = record
                self.stops.pop(record["trial"], None)

    def _take_row(self, row: Record) -> None:
        trial = row["trial"]
        if row["rank"] == 0:
            self._rows[trial] = row
            for name, series in self.curves[trial].items():
                series.append(number(row.get(name)))
        score = number(row.get(self._score))
        if score is not None:
            self.scores[trial] = score + (1 - RECENT) * (self.scores.get(trial, score) - score)

    def _line(self, trial: str, status: Status) -> TrialLine:
        row, planned = self._rows.get(trial), self.planned.get(trial)
        state = self._state(trial, status)
        if row is None:
            return TrialLine(trial, planned.objective if planned else trial, state=state)
        return TrialLine(trial, row["objective"], row, int(number(row.get("segment")) or 0), state)

    def _state(self, trial: str, status: Status) -> str:
        if trial in self.evaluations:
            return "done"
        if trial in self.stops:
            return f"stopped at {self.stops[trial].step}"
        if status.state == "finished":
            return "done"
        if status.state == "failed" and (trial_of(trial) in self.failed or not self.failed):
            return "failed"
        if trial not in self._rows:
            return "waiting"
        return "running" if status.state == "running" else "not finished"

    def _advance(self) -> None:
        """Count steps; what was there at the first look says nothing about the speed."""
        done = sum(row["step"] + 1 for row in self._rows.values())
        if self.left is None:
            self.left = TimeLeft(0)
            self.left.start(time.time())
            self.left.replay(done)
        else:
            self.left.advance(done - self.left.done, time.time(), None)
        self.left.total = self._total()

    def _total(self) -> int:
        """Policy steps of the run: planned, or of the trials that have begun; of a stopped trial those it has done."""
        steps = self.config.train.steps or 0
        planned = {trial: each.steps for trial, each in self.planned.items()}
        begun = {trial: 0 if trial == WARM_START else steps for trial in self._rows}
        stopped = {trial: self._rows[trial]["step"] + 1 for trial in self.stops if trial in self._rows}
        return sum({**begun, **planned, **stopped}.values())


def read_config(folder: Path) -> RecordedConfig:
    """Read the settings of the run in a folder.

    Raises:
        ConfigError: there is no folder, it holds no run, or settings that this version does not know.
    """
    if ":/" in str(folder):  # a path has one slash where an address had two
        raise ConfigError(f"{folder} is no local folder; bring the results here first (maxent-ray results fetch)")
    if not folder.is_dir():
        raise ConfigError(f"{folder} does not exist; give the results folder of a run, as results/first")
    if not (folder / CONFIG).is_file():
        runs = sorted(str(path.parent) for path in folder.glob(f"*/{CONFIG}"))
        hint = f"; its folders hold some: {', '.join(runs[:8])}" if runs else ""
        raise ConfigError(
            f"{folder} holds no run (it has no {CONFIG}){hint or '; if one is just starting, try again in a moment'}"
        )
    try:
        return load_recorded(folder / CONFIG)
    except ConfigError as error:
        raise ConfigError(
            f"{folder / CONFIG} cannot be read: {error}. It is damaged, or of another version of maxent-ray: watch it "
            "with the version that wrote it"
        ) from None
