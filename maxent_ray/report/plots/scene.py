"""Data of the plots: the records of a run, their summary, and lines over steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maxent_ray.report.numbers import natural_key
from maxent_ray.report.objective_summary import ObjectiveSummary
from maxent_ray.report.plots.lines import Line, smooth
from maxent_ray.report.points import Point
from maxent_ray.report.run_records import RunRecords, read_run
from maxent_ray.report.summary import Summary, build_summary


@dataclass(frozen=True)
class Scene:
    """A run, read once for any number of plots."""

    records: RunRecords
    summary: Summary

    def trials(self, objective: str) -> list[str]:
        """Trials with steps that ended with an objective, in natural order."""
        points = self.records.points
        return sorted(
            (trial for trial in points if self.records.objective(trial) == objective), key=natural_key
        )

    def groups(self, *, references: bool) -> list[ObjectiveSummary]:
        """Objectives with steps: those that are compared, or those they are compared with."""
        return [o for o in self.summary.objectives if o.reference == references and self.trials(o.objective)]

    def line(self, trial: str, signal: str, window: int = 1) -> Line:
        """One signal of a trial, as the trailing mean over `window` steps."""
        return self._line(trial, lambda point: point[signal], window)

    def deviation_line(self, trial: str, signal: str, window: int = 1) -> Line:
        """Relative distance of a signal from its target, likewise."""
        return self._line(trial, lambda point: point.deviation(signal), window)

    def _line(self, trial: str, value: Callable[[Point], float | None], window: int) -> Line:
        points = self.records.points[trial]
        clones = tuple(clone.step for clone in self.records.clones if clone.recipient == trial)
        return Line(trial, [point.step for point in points], smooth([value(p) for p in points], window), clones)


def load(folder: Path) -> Scene:
    """Read and summarise a results folder."""
    records = read_run(folder)
    return Scene(records, build_summary(records))
