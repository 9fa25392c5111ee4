"""Log a run to trackers while it goes on.

All trackers, and ``train``, ``compare`` and ``sweep``, have this one way. The records alone have every row: Ray Tune's
own callbacks lose rows under population-based training, and Ray Train has none for trackers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from maxent_ray.trackers.follower import TrackerFollower
from maxent_ray.trackers.interface import Tracker
from maxent_ray.trackers.trial_settings import Settings


class Tracking:
    """Context that logs a run to trackers; one that fails stops nothing, and is told of once.

    Args:
        folder: ``results/<name>``; for a new run it need not exist yet.
        trackers: As :func:`~maxent_ray.trackers.selection.choose_trackers` opens them.
        settings: Configuration of every trial.

    Raises:
        ResumeError: what a tracker got before cannot be read.
    """

    def __init__(self, folder: Path, trackers: Sequence[Tracker], settings: Settings) -> None:
        self._folder = folder
        self._followers = [TrackerFollower(folder, tracker, settings) for tracker in trackers]

    def __enter__(self) -> Tracking:
        for follower in self._followers:
            follower.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for follower in self._followers:
            follower.stop()
        for follower in self._followers:
            follower.join()

    def describe(self) -> list[str]:
        """Say in a line for each tracker where it writes."""
        return [f"Logging to {follower.tracker.name}: {follower.tracker.describe()}" for follower in self._followers]

    def problems(self) -> list[str]:
        """Say after the run, in a line for each tracker that failed, what that means."""
        return [self._problem(follower) for follower in self._followers if not follower.complete or follower.failures]

    def _problem(self, follower: TrackerFollower) -> str:
        name, failures = follower.tracker.name, follower.failures
        failed = f"{name} did not answer in time."
        if failures:
            failed = f"{name} failed {failures} time(s): {follower.reason}."
        if follower.complete:
            return f"{failed} It has all records nevertheless."
        return f"{failed} It lacks records, which {self._folder} has: --resume {self._folder} logs them."
