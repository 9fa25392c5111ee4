"""Answers about a run as plain values for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from maxent_ray.config.flat import flat_settings
from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.core.signals import REWARDS
from maxent_ray.dashboard.columns import Floats
from maxent_ray.dashboard.comparison import comparison, points
from maxent_ray.dashboard.descriptions import describe_objective, describe_signals
from maxent_ray.dashboard.figures import summarise_columns
from maxent_ray.dashboard.kind import kind_of, total_steps
from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.dashboard.thinning import thin
from maxent_ray.report.labels import WARM_START, objective_order
from maxent_ray.report.run_records import RunRecords
from maxent_ray.report.run_status import last_written
from maxent_ray.report.summary import Summary
from maxent_ray.storage.growing_file import regular_file
from maxent_ray.storage.json_lines import strict
from maxent_ray.storage.run_files import CONFIG, trial_of

SPARKLINE = 60

_NOTHING: Mapping[str, Any] = {
    **dict.fromkeys(("signals", "objectives", "trials", "clones", "alarms", "metrics", "held_out"), ()),
    "reasons": {},
    "comparison": {"columns": [], "rows": []},
    "points": {"columns": [], "rows": []},
    "settings": {},
    "counts": dict.fromkeys(("rows", "decisions", "samples", "torn_lines"), 0),
}
"""Details of a run that cannot be read."""


def overview(run: RunReader) -> dict[str, Any]:
    """A run in the list of runs."""
    with run.lock:
        trials, steps = run.trials(), {trial: rows.last_step for trial, rows in run.rows.trials.items()}
        started, updated = regular_file(run.folder / CONFIG), last_written(run.folder)
        return {
            "id": run.folder.name,
            "name": run.folder.name,
            "kind": kind_of(run),
            "status": run.status.state,
            "message": run.status.message,
            "started": _utc(started[2] / 1e9 if started else 0),
            "updated": _utc(updated),
            "steps_done": sum(steps.values()),
            "steps_total": total_steps(run),
            "trials": len(trials),
            "objectives": sorted(set(trials.values()), key=objective_order),
            "sparkline": _sparkline(run),
            "sparkline_of": _reward(run).replace("_", " "),
            "reading": run.is_reading,
        }


def details(run: RunReader) -> dict[str, Any]:
    """Everything about a run but its series, decisions and samples."""
    with run.lock:
        answer = {**overview(run), "version": run.version}
        if run.config is None:
            return {**answer, **_NOTHING}
        summary = _summary(run)
        answer |= {
            "signals": describe_signals(run.config.training),
            "objectives": [describe_objective(name) for name in answer["objectives"]],
            "trials": [_trial(run, summary, trial) for trial in run.trials()],
            "clones": [asdict(clone) for clone in run.clones],
            "metrics": [{"name": name, "label": label} for name, label in summary.held_out_metrics.items()],
            "held_out": _held_out(run),
            "comparison": comparison(summary),
            "points": points(summary),
            "settings": flat_settings(run.config),
            **_of_decisions(run),
        }
        found: dict[str, Any] = strict(answer)
        return found


def series(
    run: RunReader, names: Sequence[str], trial: str = "", begin: int = 0, end: int | None = None, points: int = 400
) -> list[dict[str, Any]]:
    """Curves of signals, of one trial or (an empty name) of all, between two steps."""
    with run.lock:
        trials = [each for each in run.trials() if trial in ("", each) and each in run.rows.trials]
        return [_curve(run, each, name, begin, end, points) for each in trials for name in names]


def _curve(run: RunReader, trial: str, signal: str, begin: int, end: int | None, points: int) -> dict[str, Any]:
    rows = run.rows.trials[trial]
    steps = rows.steps
    part = slice(np.searchsorted(steps, begin), None if end is None else np.searchsorted(steps, end, side="right"))
    found = thin(steps[part], rows.series(signal)[part], points)
    return {
        "trial": trial,
        "signal": signal,
        "step": found.steps.tolist(),
        "value": _known(found.values),
        "exact": found.exact and not run.is_reading,
    }


def _known(values: Floats) -> list[float | None]:
    listed: list[float | None] = values.tolist()
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        listed[place] = None
    return listed


def _utc(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None


def _sparkline(run: RunReader) -> list[float | None]:
    """Mean reward or episode return over the trials, in at most 60 equal parts of the training."""
    longest = max((rows.last_step for rows in run.rows.trials.values()), default=0)
    parts = min(SPARKLINE, longest)
    means = np.full((len(run.rows.trials), parts), np.nan)
    for place, rows in enumerate(run.rows.trials.values()):
        values = rows.series(_reward(run))
        known = np.isfinite(values) & (rows.steps > 0)
        part = (rows.steps[known] - 1) * parts // max(1, longest)
        count = np.bincount(part, minlength=parts)
        sums = np.bincount(part, weights=values[known], minlength=parts)
        means[place, count > 0] = sums[count > 0] / count[count > 0]
    count = np.isfinite(means).sum(axis=0)
    return _known(np.where(count > 0, np.nansum(means, axis=0) / np.maximum(count, 1), np.nan))


def _reward(run: RunReader) -> str:
    """Signal of the reward."""
    return REWARDS["groups" if run.config is None else run.config.training]


def _summary(run: RunReader) -> Summary:
    assert run.config is not None
    records = RunRecords(
        folder=run.folder,
        config=run.config,
        points={},
        clones=run.clones,
        evaluations=run.evaluations.records,
        reasons={},
        warnings={},
        command=run.plan.command,
        planned=run.plan.trials,
        stops=run.stops,
        totals={},
        rows=run.rows.count,
        torn_lines=run.torn,
    )
    return summarise_columns(records, run.rows.trials, run.trials(), run.evaluations.estimates())


def _trial(run: RunReader, summary: Summary, name: str) -> dict[str, Any]:
    trial = summary.trial(name)
    assert run.config is not None
    state = run.status.state if run.status.state in ("running", "finished") else "interrupted"
    stopped = "" if trial.stopped is None else trial.stopped.message
    of_run = run.status.message if run.status.state == "failed" and not run.failed else ""
    failed = run.failed.get(trial_of(name)) or of_run
    return {
        "trial": name,
        "objective": trial.objective,
        "state": "finished" if trial.finished else "stopped" if stopped else "failed" if failed else state,
        "steps": trial.steps,
        "steps_total": 0 if trial.objective == WARM_START else run.config.train.steps or 0,
        "clones_received": trial.clones_received,
        "clones_donated": trial.clones_donated,
        "settings": dict(trial.settings),
        "score": trial.score,
        "message": "" if trial.finished else stopped or failed,
    }


def _of_decisions(run: RunReader) -> dict[str, Any]:
    decisions = run.decisions
    alarms = decisions.alarms() if decisions else {}
    return {
        "alarms": [
            {"trial": trial, **asdict(replace(each, step=each.step + 1))}
            for trial, own in alarms.items()
            for each in own
        ],
        "reasons": decisions.reasons() if decisions else {},
        "counts": {
            "rows": run.rows.count,
            "decisions": decisions.count if decisions else 0,
            "samples": run.samples,
            "torn_lines": run.torn,
        },
    }


def _held_out(run: RunReader) -> list[dict[str, Any]]:
    estimates = run.evaluations.estimates()
    return [
        {
            "trial": trial,
            "objective": objective,
            "metrics": {metric: asdict(estimates[trial][metric]) for metric in METRICS},
        }
        for trial, objective in run.trials().items()
        if trial in estimates
    ]
