"""Records of a results folder, of a finished or an interrupted run, as plain values.

A run that was killed may end in a partial line, and one that was resumed has the steps after its last checkpoint
twice. Partial lines are skipped and counted; of a step that was trained twice the later row counts, because the policy
descends from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maxent_ray.config import RecordedConfig, load_recorded
from maxent_ray.core import signals
from maxent_ray.errors import ConfigError
from maxent_ray.evaluation.held_out import HeldOutMetrics
from maxent_ray.report.labels import objective_label
from maxent_ray.report.numbers import natural_key, number
from maxent_ray.report.points import Point, read_points
from maxent_ray.report.running_counts import running_totals
from maxent_ray.storage.json_lines import Record, read_lines
from maxent_ray.storage.run_files import CONFIG, DECISIONS, EVALUATIONS, LINEAGE, ROWS, RUNGS, TRIALS


@dataclass(frozen=True)
class Clone:
    """One exploit: a recipient continued with its donor's policy and perturbed settings."""

    step: int
    """Policy steps that the recipient had done."""
    recipient: str
    donor: str
    settings: Mapping[str, Any]
    """The recipient's settings from then on."""


@dataclass(frozen=True)
class Evaluation:
    """End of one trial or reference, with its held-out metrics."""

    trial: str
    objective: str
    settings: Mapping[str, Any]
    metrics: HeldOutMetrics | None
    """None where nothing is held out, as in RLlib's runs: it has trained to its end."""


@dataclass(frozen=True)
class Warned:
    """Alarm of a decision: a coefficient has no effect."""

    step: int
    """Step of the decision."""
    kind: str
    coefficient: str
    message: str


@dataclass(frozen=True)
class Planned:
    """Trial that a comparison or a sweep is going to train, or has."""

    trial: str
    objective: str
    steps: int
    settings: Mapping[str, Any]
    """Settings that it begins with."""


@dataclass(frozen=True)
class Stopped:
    """Early stop of a trial: its score, and the cutoff that it is below."""

    step: int
    """Policy steps that the trial had done."""
    score: float
    cutoff: float
    message: str


@dataclass(frozen=True)
class RunRecords:
    """Contents of a results folder."""

    folder: Path
    config: RecordedConfig
    points: Mapping[str, tuple[Point, ...]]
    """Steps of every trial, in order, each once."""
    clones: tuple[Clone, ...]
    evaluations: Mapping[str, Evaluation]
    reasons: Mapping[str, Mapping[str, int]]
    """Trial → reason → number of decisions."""
    warnings: Mapping[str, tuple[Warned, ...]]
    """Trial → alarms of its decisions, in order."""
    command: str | None
    """``compare``, ``sweep`` or ``rllib``; None for a run of one trial, and for one of before this was recorded."""
    planned: Mapping[str, Planned]
    stops: Mapping[str, Stopped]
    """Trial → its early stop; a trial that was evaluated has none."""
    totals: Mapping[str, Mapping[str, int]]
    """Signal that is a running count → trial → its total over all attempts, repeated steps included."""
    rows: int
    """Rows on record, those that were superseded included."""
    torn_lines: int
    """Lines that were no complete JSON object, or lacked what tells where they belong."""

    def objective(self, trial: str) -> str:
        """Objective that a trial ended with."""
        evaluation = self.evaluations.get(trial)
        return evaluation.objective if evaluation is not None else self.points[trial][-1].objective

    def held_out(self, trial: str) -> HeldOutMetrics | None:
        """Held-out metrics of a trial; None where there are none."""
        evaluation = self.evaluations.get(trial)
        return None if evaluation is None else evaluation.metrics

    def trials(self) -> list[str]:
        """Every trial with rows or an evaluation, in natural order."""
        return sorted({*self.points, *self.evaluations}, key=natural_key)


def read_run(folder: Path) -> RunRecords:
    """Read a results folder. Only ``config.yaml`` must exist.

    Raises:
        ConfigError: the folder has no ``config.yaml``, or one that cannot be read.
    """
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder} has no {CONFIG}; a results folder of a comparison or a sweep has one")
    rows, torn_rows = read_records(folder / ROWS)
    decisions, torn_decisions = read_records(folder / DECISIONS)
    lineage, torn_lineage = read_records(folder / LINEAGE)
    evaluations, torn_evaluations = read_records(folder / EVALUATIONS)
    planned, torn_planned = read_records(folder / TRIALS)
    rungs, torn_rungs = read_records(folder / RUNGS)
    evaluated = {record["trial"]: evaluation_of(record) for record in evaluations}
    latest = list({(d["trial"], d.get("segment"), d.get("version")): d for d in decisions}.values())
    return RunRecords(
        folder=folder,
        config=load_recorded(folder / CONFIG),
        points=read_points(rows),
        clones=sorted_clones(lineage),
        evaluations=evaluated,
        reasons=_reasons(latest),
        warnings=_warnings(latest),
        command=planned[-1]["command"] if planned else None,
        planned={record["trial"]: planned_of(record) for record in planned},
        stops={trial: stop for trial, stop in early_stops(rungs).items() if trial not in evaluated},
        totals={each.name: running_totals(rows, each.name) for each in signals.SIGNALS if each.summary == "total"},
        rows=len(rows),
        torn_lines=torn_rows + torn_decisions + torn_lineage + torn_evaluations + torn_planned + torn_rungs,
    )


PLACES: Mapping[str, Mapping[str, type]] = {
    ROWS: {"trial": str, "objective": str, "step": int, "rank": int},
    DECISIONS: {"trial": str, "reason": str},
    LINEAGE: {"recipient": str, "donor": str, "step": int},
    EVALUATIONS: {"trial": str, "objective": str, "metrics": dict},
    TRIALS: {"trial": str, "objective": str, "steps": int, "settings": dict, "command": str},
    RUNGS: {"trial": str, "objective": str, "step": int, "score": float, "stopped": bool},
}
"""File → fields without which a line of it belongs nowhere, and their types."""


def read_records(path: Path) -> tuple[list[Record], int]:
    """Read the lines of a file that belong somewhere, and count the others."""
    records, torn = read_lines(path)
    place = PLACES[path.name].items()
    whole = [record for record in records if all(isinstance(record.get(name), kind) for name, kind in place)]
    return whole, torn + len(records) - len(whole)


def sorted_clones(lineage: Iterable[Record]) -> tuple[Clone, ...]:
    """Sort clones by step; of two for one recipient at one step (before and after a resume) the later counts."""
    latest = {(record["step"], record["recipient"]): record for record in lineage}
    clones = (
        Clone(step, recipient, record["donor"], record.get("new") or {})
        for (step, recipient), record in latest.items()
    )
    return tuple(sorted(clones, key=lambda clone: (clone.step, natural_key(clone.recipient))))


def planned_of(record: Record) -> Planned:
    """Read a line of ``trials.jsonl``."""
    return Planned(record["trial"], record["objective"], record["steps"], record["settings"])


def stop_of(record: Record) -> Stopped:
    """Read a line of ``rungs.jsonl`` that tells of a stop.

    Example:
        >>> stop_of({"objective": "analytic", "step": 20, "score": 0.31, "cutoff": 0.333}).message
        'stopped early at step 20: its score, 0.310, was below 0.333, the cutoff of the analytic trials so far'
    """
    step, score, cutoff = record["step"], record["score"], record["cutoff"]
    objective = objective_label(record["objective"])
    than = f"{score:.3f}, was below {cutoff:.3f}, the cutoff of the {objective} trials so far"
    return Stopped(step, score, cutoff, f"stopped early at step {step}: its score, {than}")


def early_stops(rungs: Iterable[Record]) -> dict[str, Stopped]:
    """Trials that were stopped early; a comparison without a cutoff stops none.

    Example:
        >>> early_stops([{"trial": "a", "objective": "analytic", "step": 20, "score": 0.3, "stopped": True}])
        {}
    """
    stopped = (each for each in rungs if each["stopped"] and number(each.get("cutoff")) is not None)
    return {each["trial"]: stop_of(each) for each in stopped}


def evaluation_of(record: Record) -> Evaluation:
    """Read a line of ``evaluations.jsonl``; its metrics are empty where nothing is held out."""
    metrics = HeldOutMetrics.from_dict(record["metrics"]) if record["metrics"] else None
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
