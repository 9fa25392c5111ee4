"""The command ``maxent-ray``, with ranks that stop at a step and wait to be killed. Arguments: the step, its own."""

from __future__ import annotations

import sys
import time
from typing import Any

from maxent_ray.cli import main
from maxent_ray.train.rank import RankProcess
from maxent_ray.train.ray_train import loop
from maxent_ray.train.ray_train.rank_loop import train_rank
from maxent_ray.train.ray_train.train_job import TrainJob

STOP_AT = 0
"""The step; set by the program below, and carried to the ranks with the function that reads it."""


def stopping_rank(settings: dict[str, TrainJob]) -> None:
    """The training function."""
    run, stop_at = RankProcess.run, STOP_AT

    def run_or_wait(process: RankProcess, steps: int) -> Any:
        while process.worker.next_step >= stop_at:
            time.sleep(0.1)
        return run(process, steps)

    RankProcess.run = run_or_wait  # type: ignore[method-assign]  # in the rank's own process
    train_rank(settings)


if __name__ == "__main__":
    STOP_AT = int(sys.argv.pop(1))
    loop.train_rank = stopping_rank
    main()
