"""Interface of an experiment tracker: one run for each trial, which resumed jobs continue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Series: TypeAlias = Sequence[tuple[int, Mapping[str, float]]]
"""Policy steps done, and the values of the metrics then; finite numbers only."""


@dataclass(frozen=True)
class TrialStart:
    """A trial whose run in a tracker is begun, or continued."""

    name: str
    objective: str
    settings: Mapping[str, Any]
    """Dotted key → value of its whole configuration."""
    varied: frozenset[str]
    """Keys in which trials of this job differ."""
    steps: int = 0
    """Policy steps that are in the tracker already."""
    run_id: str | None = None
    """The tracker's name of the run to continue; None for a new one."""


class TrialRun(Protocol):
    """The run of one trial in a tracker."""

    @property
    def run_id(self) -> str:
        """The tracker's name of it, by which it is continued."""

    def log(self, series: Series) -> None:
        """Add values, step by step; they are stored when this returns."""

    def rewind(self, step: int) -> None:
        """Announce that the steps after this one were trained again, so that their former values do not count."""

    def clone(self, step: int, text: str, settings: Mapping[str, Any]) -> None:
        """Note that the trial took over another one's policy, and the settings that it has from now on."""

    def finish(self, *, complete: bool) -> None:
        """End the run; ``complete`` when the trial was trained to its end and evaluated."""


class Tracker(Protocol):
    """An experiment tracker, opened for one results folder."""

    name: str
    """As ``--log-to`` takes it."""

    def describe(self) -> str:
        """Say in a few words where it writes, and how to look at it."""

    def open(self, trial: TrialStart) -> TrialRun:
        """Begin the run of a trial, or continue it."""
