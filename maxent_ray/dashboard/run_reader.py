"""Records of one run in memory, kept up with its files."""

from __future__ import annotations

import threading
from pathlib import Path

from maxent_ray.config import RecordedConfig
from maxent_ray.dashboard.decisions import Decisions
from maxent_ray.dashboard.rows import Rows
from maxent_ray.dashboard.run_files import (
    Evaluations,
    Plan,
    Watched,
    read_clones,
    read_evaluations,
    read_plan,
    read_samples,
    read_settings,
    read_stops,
)
from maxent_ray.report.numbers import natural_key
from maxent_ray.report.run_records import Clone, Stopped
from maxent_ray.report.run_status import Status, command_of, failed_trials, run_status
from maxent_ray.storage.run_files import CONFIG, EVALUATIONS, LINEAGE, RUNGS, SAMPLES, TRIALS


class RunReader:
    """One results folder. Rows are sampled at first; :meth:`open` reads all of them, and the decisions.

    All methods may be called from any thread; values that they leave are replaced, not changed, except rows and
    decisions, which are read under ``lock``.

    Args:
        folder: ``results/<name>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self.version = 0
        """Grows with every change."""
        self.restarts = 0
        """Grows when steps were read anew, so that what was shown of them is out of date."""
        self.status = Status("interrupted")
        self.config: RecordedConfig | None = None
        self.clones: tuple[Clone, ...] = ()
        self.evaluations = Evaluations({}, 0)
        self.plan = Plan(None, {}, 0)
        self.stops: dict[str, Stopped] = {}
        """Trial → its early stop; a trial that was evaluated has none."""
        self.failed: dict[str, str] = {}
        """Trial → last line of its trace."""
        self.torn = 0
        """Lines that were left out."""
        self.samples = 0
        """Prompts with sampled answers on record."""
        self.rows = Rows(folder)
        self.decisions: Decisions | None = None
        self._config = Watched(folder / CONFIG, read_settings)
        self._clones = Watched(folder / LINEAGE, read_clones)
        self._evaluations = Watched(folder / EVALUATIONS, lambda path: read_evaluations(path, self.evaluations))
        self._samples = Watched(folder / SAMPLES, lambda path: len(read_samples(folder, "")))
        self._plan = Watched(folder / TRIALS, read_plan)
        self._stops = Watched(folder / RUNGS, read_stops)
        self._reading: threading.Thread | None = None

    def refresh(self) -> bool:
        """Read what has changed; True if anything has."""
        with self.lock:
            before = self.status
            small = (self._config, self._clones, self._evaluations, self._samples, self._plan, self._stops)
            changed = self.version == 0 or any([each.has_changed() for each in small])
            self.config, problem = self._config.content()
            self.clones, torn_clones = self._clones.content()
            self.evaluations = self._evaluations.content()
            self.samples, self.plan = self._samples.content(), self._plan.content()
            stops, torn_stops = self._stops.content()
            self.stops = {trial: stop for trial, stop in stops.items() if trial not in self.evaluations.records}
            changed |= self._refresh_rows() | self._refresh_decisions()
            self.status = self._status(problem)
            self.torn = self.rows.torn + torn_clones + self.evaluations.torn + self.plan.torn + torn_stops
            self.torn += self._torn_ends()
            self.torn += self.decisions.torn if self.decisions else 0
            changed |= self.status != before
            self.version += changed
            return changed

    def fail(self, error: Exception) -> bool:
        """Take the run for unreadable, as its records cannot be taken in; returns whether that is new."""
        with self.lock:
            before, self.config = self.status, None
            self.status = Status(
                "unreadable",
                f"its records cannot be read ({type(error).__name__}: {error}): if they were edited or are damaged, "
                "restore them; if another version wrote them, show them with that version",
            )
            self.version += self.status != before
            return self.status != before

    def open(self) -> None:
        """Read all rows and decisions: at once where they are few, else in the background."""
        with self.lock:
            if self.decisions is not None or self._reading is not None:
                return
            if not self.rows.sampled:
                self.decisions = _read_decisions(self.folder)
                self.version += 1
                return
            self._reading = threading.Thread(target=self._read_whole, daemon=True)
            self._reading.start()

    def read_whole(self) -> None:
        """Read all rows and decisions, and return once they are there."""
        self.open()
        if (reading := self._reading) is not None:
            reading.join()

    def close(self) -> None:
        """Give back the memory of a large run."""
        with self.lock:
            if self._reading is None and self.decisions is not None:
                self.rows, self.decisions = Rows(self.folder), None
                self.rows.sample()

    @property
    def is_reading(self) -> bool:
        """True while only a sample of the rows is in memory."""
        return self.rows.sampled

    def trials(self) -> dict[str, str]:
        """Trial → the objective that it ended with, in natural order."""
        found = {trial: rows.objective for trial, rows in self.rows.trials.items()}
        found |= {trial: each.objective for trial, each in self.evaluations.records.items()}
        return {trial: found[trial] for trial in sorted(found, key=natural_key)}

    def _read_whole(self) -> None:
        try:
            rows = Rows(self.folder)
            rows.read_new()
            with self.lock:
                self.rows = rows
                self.restarts += 1
                self.version += 1
            decisions = _read_decisions(self.folder)
            with self.lock:
                self.decisions = decisions
                self.version += 1
        except FileNotFoundError:
            pass  # deleted meanwhile, which the next refresh tells
        finally:
            self._reading = None

    def _refresh_rows(self) -> bool:
        if self.rows.file.was_replaced() or self.version == 0:
            self.rows = Rows(self.folder)
            self.rows.sample()
            self.restarts += 1
            return True
        return self.rows.file.has_changed() and self.rows.read_new()

    def _refresh_decisions(self) -> bool:
        if self.decisions is None:
            return False
        if self.decisions.file.was_replaced():
            self.decisions = Decisions(self.folder)
        elif not self.decisions.file.has_changed():
            return False
        self.decisions.read_new()
        return True

    def _torn_ends(self) -> int:
        """Partial lines at the ends of files that nobody writes to."""
        files = [self.rows.file, *([self.decisions.file] if self.decisions else [])]
        return 0 if self.status.state == "running" else sum(file.has_partial_line for file in files)

    def _status(self, problem: str) -> Status:
        if problem:
            return Status("unreadable", problem)
        self.failed = failed_trials(self.folder, self.evaluations.records)
        return run_status(
            self.folder,
            trials=self.trials().keys() | self.plan.trials.keys(),
            done=self.evaluations.records.keys() | self.stops.keys(),
            failed=self.failed,
            command=command_of(self.folder, self.plan.command),
            open_ended=self.config is not None and self.config.train.steps is None,
        )


def _read_decisions(folder: Path) -> Decisions:
    decisions = Decisions(folder)
    decisions.read_new()
    return decisions
