"""All runs under a results root, by the names of their folders."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.errors import ConfigError
from maxent_ray.storage.run_files import CONFIG

ROWS_IN_MEMORY = 4_000_000
"""Rows that are kept of runs that were opened; beyond, the run that was opened longest ago is sampled again."""


class UnknownRunError(LookupError):
    """There is no run of that name; the message says what to do."""


class GoneRunError(UnknownRunError):
    """There was a run of that name."""


@dataclass
class Changes:
    """Runs that changed since the last look."""

    changed: list[RunReader] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class ResultsRoot:
    """Folder of results folders, or one results folder.

    Args:
        root: ``results``, or ``results/<name>``. One that does not exist yet has no runs.

    Raises:
        ConfigError: it is a file.
    """

    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise ConfigError(f"RESULTS is '{root}', a file; give a folder of results folders, such as results")
        self.root = root
        self._runs: dict[str, RunReader] = {}
        self._gone: set[str] = set()
        self._opened: list[str] = []
        self._lock = threading.RLock()

    def refresh(self) -> Changes:
        """Look at every run, and read what has changed."""
        with self._lock:
            found, changes = dict(self._folders()), Changes()
            for name in [name for name in self._runs if name not in found]:
                self._forget(name)
                changes.gone.append(name)
            for name, folder in found.items():
                run = self._runs.get(name) or RunReader(folder)
                try:
                    if run.refresh():
                        changes.changed.append(run)
                except OSError:  # deleted or made unreadable while it was read: the next look tells which
                    continue
                except Exception as error:  # one damaged run must not hide the others
                    if run.fail(error):
                        changes.changed.append(run)
                self._runs[name] = run
                self._gone.discard(name)
            return changes

    def runs(self) -> list[RunReader]:
        """Runs as of the last look, by name."""
        with self._lock:
            return [self._runs[name] for name in sorted(self._runs)]

    def open(self, name: str) -> RunReader:
        """Select a run to be read whole.

        Raises:
            GoneRunError: it was deleted.
            UnknownRunError: there is none of that name.
        """
        with self._lock:
            run = self._find(name)
            run.open()
            self._opened = [*(each for each in self._opened if each != name), name]
            self._free_memory()
            return run

    def _find(self, name: str) -> RunReader:
        if name not in self._runs or not self._runs[name].folder.is_dir():
            self.refresh()
        if name in self._runs:
            return self._runs[name]
        if name in self._gone:
            raise GoneRunError(f"the run {name!r} was deleted, moved or renamed: choose another from the list of runs")
        raise UnknownRunError(f"there is no run {name!r} in {self.root}: choose one from the list of runs")

    def _folders(self) -> Iterator[tuple[str, Path]]:
        """Name and path of each run's folder; links that lead out of the root are none, nor are hidden folders."""
        if (self.root / CONFIG).is_file():
            yield self.root.resolve().name, self.root.resolve()
            return
        try:
            entries = sorted(os.scandir(self.root), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            folder = Path(entry.path)
            if not entry.is_symlink() or folder.resolve().is_relative_to(self.root.resolve()):
                yield entry.name, folder

    def _forget(self, name: str) -> None:
        del self._runs[name]
        self._gone.add(name)
        self._opened = [each for each in self._opened if each != name]

    def _free_memory(self) -> None:
        while len(self._opened) > 1 and sum(self._runs[each].rows.count for each in self._opened) > ROWS_IN_MEMORY:
            self._runs[self._opened.pop(0)].close()
