"""One run in this process, without Ray: for notebooks, tests and experiments that run many small seeds side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maxent_ray.config import ExperimentConfig
from maxent_ray.evaluation.held_out import HeldOutMetrics
from maxent_ray.train.rank import RankProcess, RankSpec
from maxent_ray.train.step_record import StepRecord


@dataclass(frozen=True)
class LocalRun:
    """Records of a run."""

    rows: tuple[StepRecord, ...]
    held_out: HeldOutMetrics
    """Held-out metrics after the last step."""


def run_local(
    config: ExperimentConfig,
    on_row: Callable[[StepRecord], None] = lambda row: None,
    *,
    then: Sequence[ExperimentConfig] = (),
) -> LocalRun:
    """Train for ``config.train.steps`` steps on one rank, with the controller in the same process.

    Args:
        config: The experiment.
        on_row: Called after every step.
        then: Experiments that continue the run, one after the other and each for its own number of steps: state is
            kept, settings change. Used to change targets during a run.

    Raises:
        MaxentRayError: as :class:`~maxent_ray.train.worker.TrainingWorker`.
    """
    process, threads = RankProcess(), config.train.threads_per_worker
    spec = RankSpec(run_id="local", rank=0, world_size=1, use_gpu=False, local=True, threads=threads)
    process.setup(config, spec)
    try:
        rows = _train(process, config.train.steps, on_row)
        for following in then:
            state = process.state_bytes()
            process.setup(following, spec)
            process.load_state_bytes(state)
            rows += _train(process, following.train.steps, on_row)
        return LocalRun(tuple(rows), process.evaluate().metrics)
    finally:
        process.close()


def _train(process: RankProcess, steps: int, on_row: Callable[[StepRecord], None]) -> list[StepRecord]:
    rows = []
    for _ in range(steps):
        rows += process.run(1)
        on_row(rows[-1])
    return rows
