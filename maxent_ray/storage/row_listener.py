"""The interface of what follows a run's rows as they are recorded, such as a live table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class RowListener(Protocol):
    """Follower of a run; :class:`~maxent_ray.report.progress.Progress` is one."""

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None:
        """Take the newest row of a trial, and the number of clones that the trial has received."""

    def state(self, trial: str, state: str) -> None:
        """Take the new state of a trial: running, paused, done or failed."""

    def advance(self, steps: int) -> None:
        """Count policy steps of the whole job that were done since the last call."""
