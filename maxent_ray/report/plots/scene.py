"""What a plot draws from: the records of a run, their summary, and lines over steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maxent_ray.report.plots import style
from maxent_ray.report.run_records import Point, RunRecords, natural_key, read_run
from maxent_ray.report.summary import ObjectiveSummary, Summary, build_summary

Quantity = Literal["entropy_deviation", "kl_deviation", "tau", "beta", "coverage", "reward"]


@dataclass(frozen=True)
class Line:
    """One quantity of one trial over its steps; nan where it is unknown."""

    trial: str
    steps: list[int]
    values: list[float]

    def marks(self, at: list[int]) -> tuple[list[int], list[float]]:
        """The points of the line at some steps, those it does not reach left out."""
        known = dict(zip(self.steps, self.values, strict=True))
        steps = [step for step in at if step in known]
        return steps, [known[step] for step in steps]


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

    def line(self, trial: str, quantity: Quantity, window: int = 1) -> Line:
        """One quantity of a trial, as the trailing mean over `window` steps."""
        points = self.records.points[trial]
        values = style.smooth([_value(point, quantity) for point in points], window)
        return Line(trial, [point.step for point in points], values)

    def clone_steps(self, trial: str) -> list[int]:
        """Steps at which a trial took over another's policy."""
        return [clone.step for clone in self.records.clones if clone.recipient == trial]


def load(folder: Path) -> Scene:
    """Read and summarise a results folder."""
    records = read_run(folder)
    return Scene(records, build_summary(records))


def _value(point: Point, quantity: Quantity) -> float | None:
    return {
        "entropy_deviation": point.entropy_deviation,
        "kl_deviation": point.kl_deviation,
        "tau": point.tau,
        "beta": point.beta,
        "coverage": point.coverage,
        "reward": point.reward,
    }[quantity]
