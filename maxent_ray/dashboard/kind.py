"""Kind of a run, and its number of policy steps in all, told from its folder and its settings."""

from __future__ import annotations

from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.storage.run_files import LINEAGE, TUNE_FOLDER


def kind_of(run: RunReader) -> str:
    """Command that made a run; empty for a folder that holds none, and where trials were not yet recorded."""
    if run.config is None:
        return ""
    if run.plan.command is not None:
        return run.plan.command
    return "" if any((run.folder / name).exists() for name in (TUNE_FOLDER, LINEAGE)) else "train"


def total_steps(run: RunReader) -> int | None:
    """Policy steps of all trials, of a stopped trial those it has done; None where they are not known."""
    if run.config is None:
        return None
    if run.plan.trials:
        steps = {trial: planned.steps for trial, planned in run.plan.trials.items()}
        return sum({**steps, **{trial: stop.step for trial, stop in run.stops.items()}}.values())
    return run.config.train.steps if kind_of(run) == "train" else None
