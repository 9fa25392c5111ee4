"""Records of a run on Ray Train, written line by line, and the driver's view of them while they grow.

A restart or a resume trains the steps after the last checkpoint again: of two rows for one (trial, step, rank) the
later one counts.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from ray.train import Checkpoint, UserCallback

from maxent_ray.repeating import Repeating
from maxent_ray.runtime.metrics import RunMetrics
from maxent_ray.storage.growing_file import GrowingFile
from maxent_ray.storage.records import Records
from maxent_ray.storage.row_listener import RowListener
from maxent_ray.storage.run_files import DECISIONS, EVALUATIONS, ROWS, SAMPLES
from maxent_ray.telemetry import Telemetry

POLL_S = 0.5


class RecordReports(UserCallback):
    """Callback that appends the ranks' reports, in the one process that gets all of them: Ray Train's controller.

    Args:
        folder: ``results/<name>``, absolute.
        trial: The run's name in its records.
    """

    def __init__(self, folder: Path, trial: str) -> None:
        self._records = Records(folder)
        self._label = {"trial": trial, "segment": 0}
        self._metrics = RunMetrics(folder.name)

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        """Record one report of every rank."""
        rows = [row for rank in metrics for row in rank.get("rows", ())]
        rows.sort(key=lambda row: (row["step"], row["rank"]))
        decisions = [decision for rank in metrics for decision in rank.get("decisions", ())]
        self._records.append(ROWS, ({**row, **self._label} for row in rows))
        self._records.append(DECISIONS, ({**decision, **self._label} for decision in decisions))
        # Samples first: the last evaluation marks a complete run.
        self._records.append(SAMPLES, [line for rank in metrics for line in rank.get("samples", ())])
        evaluations = [line for rank in metrics for line in rank.get("evaluations", ())]
        self._records.append(EVALUATIONS, evaluations)
        for line in evaluations:
            self._metrics.held_out(line["trial"], line["objective"], line["metrics"])


class Follower:
    """Thread that passes rows to a listener as they appear in a file, beginning with those already there.

    A file that cannot be read, or has odd rows, is told of once and stops nothing.

    Args:
        path: A ``rows.jsonl``, which need not exist yet.
        listener: Receiver of the rows.
    """

    def __init__(self, path: Path, listener: RowListener) -> None:
        self._file = GrowingFile(path)
        self._listener = listener
        self._telemetry = Telemetry(f"{path} cannot be followed; training continues")
        self._done = 0
        self._polls = Repeating(self.poll, POLL_S, "maxent-ray-follower")

    def __enter__(self) -> Follower:
        self._polls.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._polls.stop()
        self.poll()

    def poll(self) -> None:
        """Pass on the complete lines that are new."""
        with self._telemetry.attempt():
            self._pass_on()

    def _pass_on(self) -> None:
        if self._file.was_replaced():
            self._file = GrowingFile(self._file.path)
        rows = [json.loads(line) for block in self._file.new_blocks() for line in block.data.splitlines()]
        if not rows:
            return
        newest = rows[-1]
        done = max(self._done, *(row["step"] + 1 for row in rows))
        self._listener.update(newest["trial"], newest["objective"], newest, 0)
        self._listener.advance(done - self._done)
        self._done = done
