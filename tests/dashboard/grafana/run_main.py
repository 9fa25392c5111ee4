"""A real comparison on a cluster of its own, for Prometheus to scrape; the cluster stays until standard input ends.

Argument: the folder of results. Prints the session's folder; begins at a line of standard input; prints its end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from maxent_ray.config.loading import build_config
from maxent_ray.tune.comparison import run_comparison

RUN = "panels"
SETTINGS = {
    "task": {"held_out_prompts": 8},
    "grpo": {"group_size": 4, "prompts_per_step": 4, "max_new_tokens": 8},
    "evaluation": {"prompts": 6, "samples": 2},
    "train": {"steps": 60},
    "tune": {"trials_per_objective": 2, "perturbation_interval": 25, "steps_per_report": 5},
}

REPORT_S = 2.0


class Pace:
    """Holds a trial back to one report in a few seconds: Prometheus, too, looks only now and then."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None:
        time.sleep(max(0.0, self._last.get(trial, 0.0) + REPORT_S - time.monotonic()))
        self._last[trial] = time.monotonic()

    def state(self, trial: str, state: str) -> None: ...

    def advance(self, steps: int) -> None: ...


if __name__ == "__main__":
    context = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=True,
        dashboard_port=0,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
    )
    print(context.address_info["session_dir"], flush=True)
    sys.stdin.readline()
    run_comparison(build_config(SETTINGS), name=RUN, results=Path(sys.argv[1]), listeners=[Pace()])
    print("ended", flush=True)
    sys.stdin.read()
