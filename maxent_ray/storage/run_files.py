"""Files of a run's results folder: their names, and the records that several writers and readers share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from maxent_ray.storage.json_lines import read_lines, truncate_partial_line

CONFIG, SUMMARY = "config.yaml", "summary.json"
ROWS, DECISIONS, LINEAGE, EVALUATIONS = "rows.jsonl", "decisions.jsonl", "lineage.jsonl", "evaluations.jsonl"
SAMPLES = "samples.jsonl"
"""Answers to the first prompts of each held-out evaluation."""
TRIALS, RUNGS = "trials.jsonl", "rungs.jsonl"
"""Trials that a comparison or a sweep has planned, with their settings; where early stopping has compared them."""
TRACE = "error.txt"
"""Traces of a failure: of a run, or in a trial's folder, where Ray Tune writes it."""
POLICY, CHECKPOINTS, TUNE_FOLDER = "policy", "train", "tune"


def truncate_partial_lines(folder: Path) -> None:
    """Cut off the partial line that a killed run left in any of its records."""
    for name in (ROWS, DECISIONS, LINEAGE, EVALUATIONS, SAMPLES, TRIALS, RUNGS):
        truncate_partial_line(folder / name)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``rows.jsonl``, each (trial, step, rank) once: the later row wins, partial lines are skipped."""
    rows, _ = read_lines(path)
    return [dict(row) for row in {(row["trial"], row["step"], row["rank"]): row for row in rows}.values()]


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Lines of a ``samples.jsonl``, each (trial, step, prompt) once: the later line wins, all others are skipped."""
    whole = (line for line in read_lines(path)[0] if isinstance(line.get("answers"), list))
    keyed = {tuple(str(line.get(key)) for key in ("trial", "step", "prompt")): line for line in whole}
    return [dict(line) for line in keyed.values()]


def module_name(trial: str, module: str) -> str:
    """Name in the records of one of several modules that a trial trains.

    Example:
        >>> module_name("analytic-0", "left"), trial_of("analytic-0/left"), trial_of("analytic-0")
        ('analytic-0/left', 'analytic-0', 'analytic-0')
    """
    return f"{trial}/{module}"


def trial_of(name: str) -> str:
    """Trial that a name in the records belongs to."""
    return name.partition("/")[0]


def planned_trials(folder: Path) -> list[dict[str, Any]]:
    """Trials that a comparison or a sweep has planned; none in a folder of before they were recorded."""
    return [dict(record) for record in read_lines(folder / TRIALS)[0]]


def plan_record(
    trial: str,
    objective: str,
    *,
    command: str,
    steps: int = 0,
    settings: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A line of ``trials.jsonl``.

    Args:
        trial: Name of the trial.
        objective: Name of the objective that it starts with.
        command: Command that trains it.
        steps: Steps that it will train; 0 if that is not known beforehand.
        settings: Dotted keys and values that set it apart from other trials.
        overrides: All settings in which it differs from the run's, those of its objective included.
    """
    return {
        "trial": trial,
        "objective": objective,
        "steps": steps,
        "settings": dict(settings or {}),
        "overrides": dict(overrides or {}),
        "command": command,
    }


def recorded_trial(folder: Path) -> str | None:
    """Name of a run of one trial in its own records; None before its first row. A renamed folder keeps it."""
    rows, _ = read_lines(folder / ROWS)
    return str(rows[-1]["trial"]) if rows else None


def evaluation_record(
    trial: str, objective: str, settings: Mapping[str, Any], metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """A line of ``evaluations.jsonl``.

    Args:
        trial: Name of the trial.
        objective: Name of the objective that it ended with.
        settings: Dotted keys and values that set it apart from other trials.
        metrics: ``HeldOutMetrics.to_dict()``.
    """
    return {"trial": trial, "objective": objective, "settings": dict(settings), "metrics": metrics}


def sample_records(
    trial: str, objective: str, steps: int, samples: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Lines of ``samples.jsonl``, one a prompt.

    Args:
        trial: Name of the trial.
        objective: Name of the objective at the evaluation.
        steps: Policy steps done before it.
        samples: Those of ``HeldOutEvaluation.to_dict()``: prompt, number of modes, graded answers.
    """
    return [{"trial": trial, "objective": objective, "step": steps, **sample} for sample in samples]
