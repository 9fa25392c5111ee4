"""Cost of the controller in a training step: paired steps with it (Ray actor, lag 1) and with fixed τ, β.

    python experiments/benchmarks/controller_overhead.py --output experiments/results/controller_overhead

Two workers in one process take the same steps in turn, A B B A …: the same prompts, samples and parameters, because
the controller's learning rates are set too small to change anything. What is left is the cost of measuring nothing
more than the row needs, reporting to the actor, and fetching coefficients. Prints the paired ratio and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import torch
from median_interval import median_interval
from rich.progress import track

from maxent_ray.config.loading import load_config
from maxent_ray.core.set_points import SetPoints
from maxent_ray.core.state import Coefficients
from maxent_ray.runtime.connect import connect
from maxent_ray.train.worker import TrainingWorker

FROZEN = [
    "task.name=countdown_small",
    "controller.target_entropy_fraction=0.95",
    "controller.target_kl=0.05",
    "controller.tau_rule.learning_rate=1e-15",
    "controller.beta_rule.learning_rate=1e-15",
    "controller.beta_rule.proportional_gain=0",
]


class FixedCoefficients:
    """Replacement of the client with fixed τ and β, as in trainers without a controller."""

    last_decision = None

    def __init__(self, tau: float, beta: float) -> None:
        self._coefficients = Coefficients(tau, beta, version=0, step=0)

    def coefficients(self, step: int) -> Coefficients:
        """Same coefficients at every step."""
        return replace(self._coefficients, step=step)

    def report(self, step: int, statistics: object, gradients: object = None) -> None:
        """Ignore the report."""

    def set_points(self) -> SetPoints:
        """No set points."""
        return SetPoints(None, None)

    def counters(self) -> dict[str, int]:
        """Zero counts."""
        return {"decided_locally": 0}


def main() -> None:
    """Time pairs of steps; print the ratio of medians and the median of ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/controller_overhead"))
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)

    config = load_config(overrides=FROZEN)
    client = connect("overhead", 0, 1, config.controller_config(), options=config.runtime)
    fixed: Any = FixedCoefficients(config.controller.initial("tau"), config.controller.beta)
    controlled, plain = TrainingWorker(config, client), TrainingWorker(config, fixed)
    for _ in range(3):
        controlled.step(), plain.step()

    seconds: dict[str, list[float]] = {"controlled": [], "fixed": []}
    calls = []
    for pair in track(range(arguments.pairs), description="pairs of steps"):
        order = [("controlled", controlled), ("fixed", plain)]
        for name, worker in order if pair % 2 == 0 else reversed(order):
            row = worker.step()
            seconds[name].append(row.seconds)
            if name == "controlled":
                calls.append(row.seconds_controller)
    ratios = [a / b for a, b in zip(seconds["controlled"], seconds["fixed"], strict=True)]
    result = {
        "schema": 1,
        "pairs": arguments.pairs,
        "threads": arguments.threads,
        "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "ratio_of_medians": statistics.median(seconds["controlled"]) / statistics.median(seconds["fixed"]),
        "median_of_paired_ratios": statistics.median(ratios),
        "interval_of_paired_ratios": [float(bound) for bound in median_interval(ratios)],
        "median_seconds_in_client": statistics.median(calls),
    }
    print(f"{'':12s} {'median s/step':>14s}")
    for name, value in result["median_seconds"].items():
        print(f"{name:12s} {value:14.4f}")
    low, high = result["interval_of_paired_ratios"]
    print(
        f"ratio of medians {result['ratio_of_medians']:.4f}, median of paired ratios "
        f"{result['median_of_paired_ratios']:.4f} (95 % interval {low:.4f} to {high:.4f}), in the client "
        f"{1e3 * result['median_seconds_in_client']:.2f} ms"
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "summary.json").write_text(json.dumps(result, indent=1))
    client.close()


if __name__ == "__main__":
    main()
