"""Kind of a run, and its number of policy steps in all, told from its folder and its settings."""

from __future__ import annotations

from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.report.run_status import command_of


def kind_of(run: RunReader) -> str:
    """Command that made a run; empty for a folder that holds none, and where trials were not yet recorded."""
    return "" if run.config is None else command_of(run.folder, run.plan.command)


def total_steps(run: RunReader) -> int | None:
    """Policy steps of all trials, of a stopped trial those it has done; None where they are not known."""
    if run.config is None:
        return None
    if run.plan.trials:
        steps = {trial: planned.steps for trial, planned in run.plan.trials.items()}
        return sum({**steps, **{trial: stop.step for trial, stop in run.stops.items()}}.values())
    return run.config.train.steps if kind_of(run) == "train" else None
