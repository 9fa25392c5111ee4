"""TensorBoard: event files in ``results/<name>/tensorboard``, one folder for each trial."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from maxent_ray.trackers.interface import Series, TrialStart

FOLDER = "tensorboard"


class TensorBoardTracker:
    """Writes event files itself: they are whole after each call, and tags keep their letters (``pass@8``)."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    def describe(self) -> str:
        """Say where it writes, and how to look at it."""
        return f"{self._folder} (see it with: tensorboard --logdir {self._folder})"

    def open(self, trial: TrialStart) -> TensorBoardRun:
        """Begin the event file of a trial; one of a resumed trial replaces what follows the steps that are known."""
        return TensorBoardRun(self._folder / trial.name, trial)


class TensorBoardRun:
    """One event file."""

    def __init__(self, folder: Path, trial: TrialStart) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.run_id = folder.name
        # The time in the name orders files of one second.
        self._writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
        if trial.run_id is None:
            self._describe(trial)
        else:
            self.rewind(trial.steps)

    def log(self, series: Series) -> None:
        """Add one event for each step."""
        for step, values in series:
            scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            self._write(Event(step=step, summary=Summary(value=scalars)))
        self._writer.flush()

    def rewind(self, step: int) -> None:
        """Begin a session: TensorBoard drops the earlier events of its steps."""
        self._write(Event(step=step + 1, file_version="brain.Event:2"))
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def clone(self, step: int, text: str, settings: Mapping[str, Any]) -> None:
        """Add the text to the page of texts."""
        self._write(Event(step=step, summary=summary.text("trial/clone", text)))

    def finish(self, *, complete: bool) -> None:
        """Close the file."""
        self._writer.close()

    def _describe(self, trial: TrialStart) -> None:
        """Add the settings as text, and those that vary as hyperparameters."""
        listed = "\n".join(f"    {key}: {value}" for key, value in trial.settings.items())
        self._write(Event(step=0, summary=summary.text("trial/settings", listed)))
        varied = {key: value for key, value in trial.settings.items() if key in trial.varied}
        experiment, start, _ = summary.hparams({"objective": trial.objective, **varied}, {})
        self._write(Event(step=0, summary=experiment))
        self._write(Event(step=0, summary=start))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)
