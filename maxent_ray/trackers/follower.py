"""The way of a run's records to one tracker: a thread that follows the files in the results folder.

Nothing counts as logged until the tracker took it: one that was out of reach for a while gets everything later.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from maxent_ray.report.points import Point, read_points
from maxent_ray.storage.json_lines import Record
from maxent_ray.telemetry import Telemetry
from maxent_ray.trackers.interface import Tracker, TrialRun, TrialStart
from maxent_ray.trackers.metric_names import held_out_values, series_of
from maxent_ray.trackers.new_records import NewRecords, RecordReader
from maxent_ray.trackers.progress_file import TrackerProgress, TrialProgress, read_progress, write_progress
from maxent_ray.trackers.trial_settings import Settings, varied_keys

POLL_S = 1.0
RETRY_S = 10.0
"""Wait after a failure."""
CLOSE_S = 60.0
"""Longest wait for a tracker at the end of a run."""


class TrackerFollower:
    """The way of a run's records to one tracker.

    Args:
        folder: ``results/<name>``.
        tracker: Receives the records.
        settings: Configuration of every trial; looked up when the first record of one comes.
    """

    def __init__(self, folder: Path, tracker: Tracker, settings: Settings) -> None:
        self.tracker = tracker
        self._telemetry = Telemetry(f"{tracker.name} cannot be reached; training continues, and it is tried again")
        self.complete = False
        """True once it has got all records, up to the last one."""
        self._folder = folder
        self._settings = settings
        self._progress = read_progress(folder, tracker.name)
        self._reader = RecordReader(folder, self._progress.offsets)
        self._open: dict[str, TrialRun] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"maxent-ray-{tracker.name}", daemon=True)

    @property
    def failures(self) -> int:
        """Number of attempts that failed."""
        return self._telemetry.failures

    @property
    def reason(self) -> str:
        """Reason of the first failure."""
        return self._telemetry.reason

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Begin the end: the last records are logged, and the runs are ended."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the end, though not for ever for a tracker that does not answer."""
        self._thread.join(CLOSE_S)

    def poll(self, *, last: bool = False) -> bool:
        """Log what is new; returns whether the tracker took it."""
        failures = self._telemetry.failures
        with self._telemetry.attempt():
            self._log_new(last)
        return self._telemetry.failures == failures

    def _follow(self) -> None:
        wait = POLL_S
        while not self._stop.wait(wait):
            wait = POLL_S if self.poll() else RETRY_S
        complete = self.poll(last=True)
        for run in self._open.values():
            with self._telemetry.attempt():
                run.finish(complete=False)
        self.complete = complete

    def _log_new(self, last: bool) -> None:
        more = True
        while more:
            new = self._reader.read(last=last)
            more = new.more
            if new.offsets != self._reader.offsets:
                self._log(new)

    def _log(self, new: NewRecords) -> None:
        for clone in new.clones:
            self._log_clone(clone)
        for trial, own in read_points(new.rows).items():
            self._log_points(trial, own)
        for evaluation in new.evaluations:
            self._log_evaluation(evaluation)
        self._reader.accept(new)
        self._save()

    def _log_clone(self, clone: Record) -> None:
        new, step = clone["new"], clone["step"]
        listed = ", ".join(f"{key} = {value}" for key, value in new.items())
        run = self._run(clone["recipient"], str(clone.get("new_objective", "")))
        run.clone(step, f"step {step}: cloned from {clone['donor']}, with {listed}", new)

    def _log_points(self, trial: str, points: Sequence[Point]) -> None:
        run, first = self._run(trial, points[0].objective), points[0].step
        if first <= self._progress.trials[trial].steps:
            run.rewind(first - 1)
        run.log(series_of(points))
        self._done(trial, points[-1].step)

    def _log_evaluation(self, evaluation: Record) -> None:
        trial = evaluation["trial"]
        run = self._run(trial, evaluation["objective"])
        run.log([(self._progress.trials[trial].steps, held_out_values(evaluation["metrics"]))])
        run.finish(complete=True)
        del self._open[trial]

    def _run(self, trial: str, objective: str) -> TrialRun:
        """Run of a trial, opened when the first record of it comes."""
        if trial not in self._open:
            before = self._progress.trials.get(trial)
            steps, run_id = (0, None) if before is None else (before.steps, before.run_id)
            settings = self._settings.get(trial, {})
            varied = varied_keys(self._settings)
            run = self.tracker.open(TrialStart(trial, objective, settings, varied, steps, run_id))
            self._open[trial] = run
            self._done(trial, steps)
            self._save()  # so that no failure that follows makes a second run of it
        return self._open[trial]

    def _done(self, trial: str, steps: int) -> None:
        self._progress = self._progress.with_trial(trial, TrialProgress(self._open[trial].run_id, steps))

    def _save(self) -> None:
        self._progress = TrackerProgress(self._reader.offsets, self._progress.trials)
        write_progress(self._folder, self.tracker.name, self._progress)
