"""The interface of what follows a run's rows as they are recorded, such as a live table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from maxent_ray.telemetry import Telemetry


class RowListener(Protocol):
    """Follower of a run; :class:`~maxent_ray.report.progress.Progress` is one."""

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None:
        """Take the newest row of a trial, and the number of clones that the trial has received."""

    def state(self, trial: str, state: str) -> None:
        """Take the new state of a trial: running, paused, done, stopped (early) or failed."""

    def advance(self, steps: int) -> None:
        """Count policy steps of the whole job that were done since the last call."""


class Listeners:
    """Several followers as one; one that fails is told of once, stops nothing, and is told of the next rows too."""

    def __init__(self, listeners: Iterable[RowListener]) -> None:
        failed = "{} cannot follow the run; training continues"
        self._listeners = [(each, Telemetry(failed.format(type(each).__name__))) for each in listeners]

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None:
        """Pass on the newest row of a trial."""
        self._tell(lambda listener: listener.update(trial, objective, row, clones))

    def state(self, trial: str, state: str) -> None:
        """Pass on the new state of a trial."""
        self._tell(lambda listener: listener.state(trial, state))

    def advance(self, steps: int) -> None:
        """Pass on the number of policy steps that were done."""
        self._tell(lambda listener: listener.advance(steps))

    def _tell(self, tell: Callable[[RowListener], None]) -> None:
        for listener, telemetry in self._listeners:
            with telemetry.attempt():
                tell(listener)
