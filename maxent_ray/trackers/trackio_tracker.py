"""Trackio: a project for a results folder, in Trackio's own folder of this machine, where ``trackio show`` finds it."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import Context
from pathlib import Path
from typing import Any, TextIO

from maxent_ray.trackers.interface import Series, TrialStart


class TrackioTracker:
    """Runs of the project that has the results folder's name."""

    name = "trackio"

    def __init__(self, folder: Path) -> None:
        import trackio

        self._trackio = trackio
        self._project = folder.resolve().name

    def describe(self) -> str:
        """Say where it writes, and how to look at it."""
        return f"project {self._project} (see it with: trackio show --project {self._project})"

    def open(self, trial: TrialStart) -> TrackioRun:
        """Begin the run of a trial, or continue it."""
        with _without_messages():
            # In a context of its own, as Trackio ends the former run of a context.
            run = Context().run(
                self._trackio.init,
                self._project,
                name=trial.name,
                config={**trial.settings, "objective": trial.objective},
                resume="never" if trial.run_id is None else "allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        return TrackioRun(run)


class TrackioRun:
    """One run; a thread of Trackio stores what it is given."""

    def __init__(self, run: Any) -> None:
        self._run = run

    @property
    def run_id(self) -> str:
        """Trackio's id."""
        return str(self._run.id)

    def log(self, series: Series) -> None:
        """Add values, step by step."""
        for step, values in series:
            self._run.log(dict(values), step=step)

    def rewind(self, step: int) -> None:
        """Do nothing: Trackio keeps both values of a step."""

    def clone(self, step: int, text: str, settings: Mapping[str, Any]) -> None:
        """Log the text at the clone's step."""
        self._run.log({"trial/clone": text}, step=step)

    def finish(self, *, complete: bool) -> None:
        """Store what is left."""
        with _without_messages():
            self._run.finish()


@contextmanager
def _without_messages() -> Iterator[None]:
    """Keep what this thread prints from the live table: Trackio has several lines for each run."""
    with redirect_stdout(_OtherThreads(sys.stdout)):
        yield


class _OtherThreads(io.TextIOBase):
    """Passes on what other threads than this one print."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._silent = threading.get_ident()

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        return len(text) if threading.get_ident() == self._silent else self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Say what the stream says."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """File of the stream."""
        return self._stream.fileno()
