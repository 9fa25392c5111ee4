"""A results folder that grows as a run's does, to be followed by a tracker."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from maxent_ray.storage.json_lines import append
from maxent_ray.storage.run_files import EVALUATIONS, LINEAGE, ROWS, evaluation_record
from maxent_ray.trackers.follower import TrackerFollower
from maxent_ray.trackers.interface import Tracker

RANKS = 2
SETTINGS = {
    trial: {"controller.target_kl": target, "train.seed": 0, "controller.objective.type": "analytic", "none": None}
    for trial, target in (("a", 0.05), ("b", 0.1))
}


def rows(trial: str, steps: Iterable[int], *, attempt: int = 1) -> list[dict[str, Any]]:
    """Rows whose mean reward over the ranks is step + 0.5, and whose loss is the number of the attempt."""
    return [
        {
            "trial": trial,
            "objective": "analytic",
            "segment": int(step >= 4),
            "step": step,
            "rank": rank,
            "tau": 0.3,
            "entropy": 1.25,
            "target_entropy": 1.5,
            "kl": None,
            "reward": float(step + rank),
            "loss": float(attempt),
            "seconds": 0.25,
            "reason": "updated",
        }
        for step in steps
        for rank in range(RANKS)
    ]


def grow(folder: Path, lines: list[dict[str, Any]]) -> None:
    append(folder / ROWS, lines)


def clone(folder: Path, step: int, new: dict[str, Any]) -> None:
    line = {"step": step, "recipient": "a", "donor": "b", "new_objective": "analytic", "new": new}
    append(folder / LINEAGE, [line])


def evaluate(folder: Path, trial: str, coverage: float | None = 0.25) -> None:
    metrics = {"mean": 0.5, "pass_rate": 1.0, "distinct": 2.0, "coverage": coverage, "samples": 8}
    append(folder / EVALUATIONS, [evaluation_record(trial, "analytic", {}, metrics)])


def follow(folder: Path, tracker: Tracker) -> TrackerFollower:
    """A follower that reads when it is told to, without its thread."""
    return TrackerFollower(folder, tracker, SETTINGS)


def two_sessions(folder: Path, make: type[Any]) -> None:
    """Trial a: four steps, an end, the last two trained again and two more, a clone, an evaluation; trial b: begun."""
    grow(folder, rows("a", range(4)))
    session(folder, make(folder))
    grow(folder, rows("a", range(2, 4), attempt=2) + rows("a", range(4, 6), attempt=2) + rows("b", range(2)))
    clone(folder, 4, {"controller.target_kl": 0.06})
    evaluate(folder, "a", coverage=None)
    session(folder, make(folder))


def session(folder: Path, tracker: Tracker) -> None:
    """Follow as a job does that ends at once."""
    follower = follow(folder, tracker)
    follower.start()
    follower.stop()
    follower.join()
    assert follower.complete and not follower.failures, follower.reason
