"""One run in this process, without Ray: for notebooks, tests and experiments that run many small seeds side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from maxent_ray.config import ExperimentConfig
from maxent_ray.train.evaluation import HeldOutMetrics
from maxent_ray.train.rank import RankProcess, RankSpec
from maxent_ray.train.row import StepRow


@dataclass(frozen=True)
class LocalRun:
    """What a run leaves behind."""

    rows: tuple[StepRow, ...]
    warm_start: HeldOutMetrics
    """Held-out metrics before the first step."""
    held_out: HeldOutMetrics
    """Held-out metrics after the last step."""


def run_local(config: ExperimentConfig, on_row: Callable[[StepRow], None] = lambda row: None) -> LocalRun:
    """Train for ``config.train.steps`` steps on one rank, with the controller in the same process.

    Args:
        config: The experiment.
        on_row: Called after every step.

    Raises:
        MaxentRayError: as :class:`~maxent_ray.train.worker.TrainingWorker`.
    """
    process = RankProcess()
    process.setup(config, RankSpec(run_id="local", rank=0, world_size=1, use_gpu=False, local=True))
    try:
        warm_start = process.evaluate()
        rows = []
        for _ in range(config.train.steps):
            rows += process.run(1)
            on_row(rows[-1])
        return LocalRun(tuple(rows), warm_start, process.evaluate())
    finally:
        process.close()
