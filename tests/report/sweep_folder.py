"""A made-up results folder of a sweep: a grid, points that were drawn, or one target."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import apply_overrides, dump_config
from maxent_ray.storage.driver_lock import driver_lock
from tests.report.results_folder import held_out, row, write_lines

STEPS, STOPPED_AT = 30, 10
ENTROPY, KL = "controller.target_entropy_fraction", "controller.target_kl"
GRID = tuple({ENTROPY: entropy, KL: kl} for entropy in (0.85, 0.9, 0.95) for kl in (0.03, 0.05, 0.1))


def drawn(count: int) -> list[dict[str, Any]]:
    """Points of a random sweep."""
    chance = random.Random(3)
    return [{ENTROPY: chance.uniform(0.85, 0.97), KL: 0.03 * 5 ** chance.random()} for _ in range(count)]


def write_sweep(
    folder: Path,
    points: Sequence[Mapping[str, Any]] = GRID,
    *,
    objectives: Sequence[str] = ("analytic",),
    stopped: Sequence[str] = (),
    unfinished: Sequence[str] = (),
    references: bool = True,
) -> Path:
    """Write the folder; ``stopped`` and ``unfinished`` name trials that have no evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    dump_config(apply_overrides(ExperimentConfig(), {"train.steps": STEPS}), folder / "config.yaml")
    trials = [(f"{o}-{i}", o, point) for i, point in enumerate(points) for o in objectives]
    others = [("warm_start", 0.38, 0.30), ("grpo", 0.22, 0.43), ("fixed", 0.31, 0.41)] if references else []
    plans = [_plan(trial, objective, STEPS, point) for trial, objective, point in trials]
    write_lines(folder / "trials.jsonl", [*plans, *(_plan(name, name, STEPS, {}) for name, *_ in others)])
    rows: list[dict[str, Any]] = []
    evaluations: list[dict[str, Any]] = []
    for place, (trial, objective, point) in enumerate(trials):
        steps = STOPPED_AT if trial in stopped else STEPS // 2 if trial in unfinished else STEPS
        rows += _rows(trial, objective, point, steps)
        if trial not in stopped and trial not in unfinished:
            entropy, kl = point.get(ENTROPY, 0.95), point.get(KL, 0.05)
            metrics = held_out(0.30 + 1.2 * (entropy - 0.85) - kl, 0.36 + 2 * kl - 0.5 * (entropy - 0.85), place)
            evaluations.append(_evaluation(trial, objective, point, metrics))
    evaluations += [_evaluation(n, n, {}, held_out(c, m, 90 + i)) for i, (n, c, m) in enumerate(others)]
    write_lines(folder / "rows.jsonl", rows)
    write_lines(folder / "evaluations.jsonl", evaluations)
    write_lines(folder / "rungs.jsonl", [_rung(trial) for trial in stopped])
    return folder


def finish(folder: Path) -> Path:
    """Leave the folder as a driver does that has ended after the summary."""
    with driver_lock(folder):
        (folder / "summary.json").write_text("{}")
    return folder


def _plan(trial: str, objective: str, steps: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    own = {"trial": trial, "objective": objective, "steps": steps, "settings": dict(settings)}
    return {**own, "command": "sweep"}


def _evaluation(
    trial: str, objective: str, settings: Mapping[str, Any], metrics: Mapping[str, Any]
) -> dict[str, Any]:
    return {"trial": trial, "objective": objective, "settings": dict(settings), "metrics": dict(metrics)}


def _rung(trial: str) -> dict[str, Any]:
    objective = trial.rpartition("-")[0]
    own = {"step": STOPPED_AT, "trial": trial, "objective": objective, "rung": float(STOPPED_AT)}
    return {**own, "score": 0.31, "cutoff": 0.35, "stopped": True}


def _rows(trial: str, objective: str, point: Mapping[str, Any], steps: int) -> list[dict[str, Any]]:
    chance = random.Random(trial)
    entropy, kl = 2.079 * point.get(ENTROPY, 0.95), point.get(KL, 0.05)
    off = chance.gauss(0, 0.02)
    return [
        row(
            trial,
            objective,
            step,
            target_entropy=entropy,
            entropy=entropy * (1 + off),
            target_kl=kl,
            kl=kl * (1 + 5 * off),
            seconds=0.5,
        )
        for step in range(steps)
    ]
