"""What the tests that kill share: one small run, and what of its records must not depend on who died."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maxent_ray.config import ExperimentConfig
from maxent_ray.storage.run_files import CHECKPOINTS, read_rows
from maxent_ray.train.ray_train.checkpoints import STATE
from tests.train.tiny import tiny_config

RANKS, STEPS, CHECKPOINT_EVERY = 2, 20, 4
PATIENCE_S = 300.0
"""Nothing waits that long but a test that fails: the machine may be busy with others."""


def fault_config(lag: int = 0) -> ExperimentConfig:
    """Two ranks; with ``lag=0`` they wait for each round's decision."""
    return tiny_config(
        {
            "train.num_workers": RANKS,
            "train.steps": STEPS,
            "train.checkpoint_every": CHECKPOINT_EVERY,
            "train.max_failures": 4,
            "train.use_gpu": False,
            "runtime.lag": lag,
        }
    )


def rows_of(folder: Path) -> dict[tuple[int, int], dict[str, Any]]:
    """Rows by (step, rank), but for what a clock says (``seconds…``), what the run is called (``trial``) and two
    fields that tell what a process has been through: the decision it has heard of last (``reason``, none yet in a
    new process) and the rounds that were decided without the actor.
    """
    rows = {(row["step"], row["rank"]): row for row in read_rows(folder / "rows.jsonl")}
    left_out = ("trial", "reason", "decided_locally")
    return {
        place: {key: value for key, value in row.items() if not key.startswith("seconds") and key not in left_out}
        for place, row in rows.items()
    }


def decisions_of(folder: Path) -> dict[int, dict[str, Any]]:
    """Decisions by version, all of each; every copy of one that was recorded twice is the same."""
    decisions: dict[int, dict[str, Any]] = {}
    for line in (folder / "decisions.jsonl").read_text().splitlines():
        decision = {key: value for key, value in json.loads(line).items() if key != "trial"}
        assert decisions.setdefault(decision["version"], decision) == decision
    return decisions


def check_is_whole(folder: Path) -> None:
    """Every step of every rank, every decision."""
    assert sorted(rows_of(folder)) == [(step, rank) for step in range(STEPS) for rank in range(RANKS)]
    assert sorted(decisions_of(folder)) == list(range(1, STEPS + 1))


def checkpoints(folder: Path) -> list[Path]:
    """The states that were written, oldest first."""
    return sorted((folder / CHECKPOINTS).glob(f"checkpoint_*/{STATE}"))


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"{what}: it never came to be"
        time.sleep(0.02)


Process = tuple[int, str]
"""A process id, and when that process started: ids are given out again."""
AGENTS = ("ray::RuntimeEnvAgent", "ray::DashboardAgent")
"""Ray's own, which look once a minute whether their node is still there."""


def descendants(pid: int) -> set[Process]:
    """All processes that a process started, directly or not."""
    parents = {number: parent for number in _processes() if (parent := _parent(number)) is not None}
    found: set[int] = set()
    new = {pid}
    while new:
        found |= new
        new = {number for number, parent in parents.items() if parent in new} - found
    return {(number, started) for number in found - {pid} if (started := _started(number)) is not None}


def without_agents(processes: set[Process]) -> set[Process]:
    return {process for process in processes if not _title(process[0]).startswith(AGENTS)}


def alive(process: Process) -> bool:
    return _started(process[0]) == process[1]


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _stat(pid: int) -> list[str] | None:
    """The fields after the process's name; None when it is gone, or only waits to be collected."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def _started(pid: int) -> str | None:
    fields = _stat(pid)
    return None if fields is None else fields[19]
