"""A real comparison on a cluster of its own, for Prometheus to scrape; the cluster stays until standard input ends.

Argument: the folder of results. Prints the session's folder; begins at a line of standard input; prints its end.
"""

from __future__ import annotations

import sys
from pathlib import Path

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
    run_comparison(build_config(SETTINGS), name=RUN, results=Path(sys.argv[1]))
    print("ended", flush=True)
    sys.stdin.read()
