"""Reads a results folder, finished or interrupted, into plain values.

A run that was killed may end in half a line, and one that was continued holds the steps after its last
checkpoint twice. Half lines are skipped and counted; of a step that was trained twice the later row counts,
because the policy descends from it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import load_config
from maxent_ray.errors import ConfigError
from maxent_ray.evaluation.held_out import HeldOutMetrics
from maxent_ray.report.running_counts import running_totals
from maxent_ray.storage.json_lines import Record, read_lines

REFERENCES = ("warm_start", "grpo", "fixed")
"""Objectives that are not compared but compared with."""


@dataclass(frozen=True)
class Point:
    """One policy step of one trial, averaged over its ranks. A value that no rank knows is None."""

    step: int
    """Policy steps done, this one included."""
    segment: int
    """Clones that the trial had received before."""
    objective: str
    tau: float | None
    beta: float | None
    reward: float | None
    pass_rate: float | None
    distinct: float | None
    coverage: float | None
    entropy: float | None
    target_entropy: float | None
    kl: float | None
    target_kl: float | None
    seconds: float | None

    @property
    def entropy_deviation(self) -> float | None:
        """(H − H*)/H*."""
        return _deviation(self.entropy, self.target_entropy)

    @property
    def kl_deviation(self) -> float | None:
        """(KL − KL*)/KL*."""
        return _deviation(self.kl, self.target_kl)


@dataclass(frozen=True)
class Clone:
    """One exploit: a recipient went on with its donor's policy and perturbed settings."""

    step: int
    """Policy steps that the recipient had done."""
    recipient: str
    donor: str
    settings: Mapping[str, Any]
    """The recipient's settings from then on."""


@dataclass(frozen=True)
class Evaluation:
    """The held-out metrics of one finished trial or reference."""

    trial: str
    objective: str
    settings: Mapping[str, Any]
    metrics: HeldOutMetrics


@dataclass(frozen=True)
class Warned:
    """An alarm that a decision gave: a coefficient does nothing."""

    step: int
    """Of the decision, as it stands in ``decisions.jsonl``."""
    kind: str
    coefficient: str
    message: str


@dataclass(frozen=True)
class RunRecords:
    """Everything that a results folder says."""

    folder: Path
    config: ExperimentConfig
    points: Mapping[str, tuple[Point, ...]]
    """Steps of every trial, in order, each once."""
    clones: tuple[Clone, ...]
    evaluations: Mapping[str, Evaluation]
    reasons: Mapping[str, Mapping[str, int]]
    """Trial → reason → decisions that gave it."""
    warnings: Mapping[str, tuple[Warned, ...]]
    """Trial → alarms of its decisions, in order."""
    decided_locally: Mapping[str, int]
    """Trial → rounds that rank 0 decided itself, over all attempts, repeated steps included."""
    failed_unrolls: Mapping[str, int]
    """Trial → unrolls that ran out of memory, counted likewise."""
    rows: int
    """Rows on record, those that were superseded included."""
    torn_lines: int
    """Lines that were no complete JSON object."""

    def objective(self, trial: str) -> str:
        """The objective that a trial ended with."""
        evaluation = self.evaluations.get(trial)
        return evaluation.objective if evaluation is not None else self.points[trial][-1].objective

    def trials(self) -> list[str]:
        """Every trial with rows or an evaluation, in natural order."""
        return sorted({*self.points, *self.evaluations}, key=natural_key)


def read_run(folder: Path) -> RunRecords:
    """Read a results folder. Only ``config.yaml`` must exist.

    Raises:
        ConfigError: the folder has no ``config.yaml``, or one that cannot be read.
    """
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder} has no config.yaml; a results folder of a comparison or a sweep has one")
    rows, torn_rows = read_lines(folder / "rows.jsonl")
    decisions, torn_decisions = read_lines(folder / "decisions.jsonl")
    lineage, torn_lineage = read_lines(folder / "lineage.jsonl")
    evaluations, torn_evaluations = read_lines(folder / "evaluations.jsonl")
    latest = list({(d["trial"], d.get("segment"), d.get("version")): d for d in decisions}.values())
    return RunRecords(
        folder=folder,
        config=load_config(folder / "config.yaml"),
        points=_points(rows),
        clones=_clones(lineage),
        evaluations={record["trial"]: _evaluation(record) for record in evaluations},
        reasons=_reasons(latest),
        warnings=_warnings(latest),
        decided_locally=running_totals(rows, "decided_locally"),
        failed_unrolls=running_totals(rows, "failed_unrolls"),
        rows=len(rows),
        torn_lines=torn_rows + torn_decisions + torn_lineage + torn_evaluations,
    )


def number(value: object) -> float | None:
    """The value as a float when it is a finite number, else None.

    Example:
        >>> number(2), number(float("nan")), number(None), number("2")
        (2.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are known; None when none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def natural_key(trial: str) -> tuple[str, int, str]:
    """Sorts ``analytic-2`` before ``analytic-10``."""
    stem, _, tail = trial.rpartition("-")
    return (stem, int(tail), "") if stem and tail.isdecimal() else (trial, -1, "")


def _deviation(value: float | None, target: float | None) -> float | None:
    if value is None or target is None or target <= 0:
        return None
    return (value - target) / target


def _points(rows: Iterable[Record]) -> dict[str, tuple[Point, ...]]:
    """Group rows by trial and step, following each trial back whenever it returned to an earlier step."""
    trials: dict[str, dict[int, dict[int, Record]]] = {}
    for row in rows:
        steps = trials.setdefault(row["trial"], {})
        step, rank = row["step"], row["rank"]
        if rank in steps.get(step, {}):
            for superseded in [other for other in steps if other >= step]:
                del steps[superseded]
        steps.setdefault(step, {})[rank] = row
    return {
        trial: tuple(_point(step, list(steps[step].values())) for step in sorted(steps))
        for trial, steps in trials.items()
    }


def _point(step: int, ranks: list[Record]) -> Point:
    def over_ranks(key: str) -> float | None:
        return mean(number(row.get(key)) for row in ranks)

    return Point(
        step=step + 1,
        segment=int(number(ranks[0].get("segment")) or 0),
        objective=ranks[0]["objective"],
        tau=over_ranks("tau"),
        beta=over_ranks("beta"),
        reward=over_ranks("reward"),
        pass_rate=over_ranks("pass_rate"),
        distinct=over_ranks("distinct"),
        coverage=over_ranks("coverage"),
        entropy=over_ranks("entropy"),
        target_entropy=over_ranks("target_entropy"),
        kl=over_ranks("kl"),
        target_kl=over_ranks("target_kl"),
        seconds=over_ranks("seconds"),
    )


def _clones(lineage: Iterable[Record]) -> tuple[Clone, ...]:
    """In order of steps; of two for one recipient at one step (before and after a resume) the later."""
    latest = {(record["step"], record["recipient"]): record for record in lineage}
    clones = (
        Clone(step, recipient, record["donor"], record.get("new") or {})
        for (step, recipient), record in latest.items()
    )
    return tuple(sorted(clones, key=lambda clone: (clone.step, natural_key(clone.recipient))))


def _evaluation(record: Record) -> Evaluation:
    metrics = HeldOutMetrics.from_dict(record["metrics"])
    return Evaluation(record["trial"], record["objective"], record.get("settings") or {}, metrics)


def _reasons(decisions: Iterable[Record]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for decision in decisions:
        counts.setdefault(decision["trial"], Counter())[decision["reason"]] += 1
    return {trial: dict(sorted(count.items())) for trial, count in counts.items()}


def _warnings(decisions: Iterable[Record]) -> dict[str, tuple[Warned, ...]]:
    found: dict[str, list[Warned]] = {}
    for decision in decisions:
        for alarm in decision.get("alarms", ()):  # runs of before alarms were recorded have none
            warned = Warned(decision["step"], alarm["kind"], alarm["coefficient"], alarm["message"])
            found.setdefault(decision["trial"], []).append(warned)
    return {trial: tuple(warned) for trial, warned in found.items()}
