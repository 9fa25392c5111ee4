"""Cost of the controller in an iteration of RLlib: paired iterations of an algorithm with it and of the plain one.

    python experiments/benchmarks/rllib_overhead.py --output experiments/results/rllib_overhead

Both algorithms live in this process, env runner and learner too, and take iterations in turn, A B B A …. Seconds of the
process's own CPU time are given beside those of the clock: they do not depend on what else the machine does. Prints
the ratios and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import torch
from median_interval import median_interval
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from rich.console import Console
from rich.progress import track
from rich.table import Table

from maxent_ray.rllib import control

Config = Callable[[], Any]


def ppo(env: str) -> Any:
    """PPO with 80 minibatches of 128 steps an iteration."""
    config = PPOConfig().environment(env).training(train_batch_size=1024, minibatch_size=128, num_epochs=10)
    return config.env_runners(num_env_runners=0)


def sac() -> Any:
    """SAC with 25 updates of 256 steps an iteration."""
    config = SACConfig().environment("Pendulum-v1").env_runners(num_env_runners=0, rollout_fragment_length=1)
    config = config.training(train_batch_size_per_learner=256, num_steps_sampled_before_learning_starts=256)
    return config.reporting(min_sample_timesteps_per_iteration=25, min_time_s_per_iteration=0)


CASES: dict[str, tuple[Config, dict[str, float]]] = {
    "PPO, CartPole-v1": (lambda: ppo("CartPole-v1"), {"target_entropy": 0.5, "target_kl": 0.01}),
    "PPO, Pendulum-v1": (lambda: ppo("Pendulum-v1"), {"target_entropy": 1.0, "target_kl": 0.01}),
    "SAC, Pendulum-v1": (sac, {"target_entropy": -1.0}),
}


def main() -> None:
    """Time pairs of iterations; print the median of their ratios with its interval."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/rllib_overhead"))
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)

    results = {name: compare(*CASES[name], arguments.pairs, name) for name in arguments.cases}
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "rllib_overhead.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    Console().print(table(results))


def compare(make: Config, targets: dict[str, float], pairs: int, name: str) -> dict[str, Any]:
    """Run pairs of iterations of one case."""
    algorithms = {"plain": make().build_algo(), "controlled": control(make(), **targets).build_algo()}
    for algorithm in algorithms.values():
        for _ in range(12 if name.startswith("SAC") else 1):  # SAC fills its replay buffer first
            algorithm.train()
    seconds: dict[str, dict[str, list[float]]] = {each: {"wall": [], "cpu": []} for each in algorithms}
    for pair in track(range(pairs), description=name):
        for each in list(algorithms) if pair % 2 == 0 else reversed(algorithms):
            wall, cpu = time.perf_counter(), time.process_time()
            algorithms[each].train()
            seconds[each]["wall"].append(time.perf_counter() - wall)
            seconds[each]["cpu"].append(time.process_time() - cpu)
    for algorithm in algorithms.values():
        algorithm.stop()
    return {clock: summary(seconds["controlled"][clock], seconds["plain"][clock]) for clock in ("cpu", "wall")}


def summary(controlled: list[float], plain: list[float]) -> dict[str, Any]:
    """Medians in ms, and the median of the pairs' ratios with its 95 % interval."""
    ratios = [first / second for first, second in zip(controlled, plain, strict=True)]
    return {
        "pairs": len(ratios),
        "controlled_ms": 1e3 * statistics.median(controlled),
        "plain_ms": 1e3 * statistics.median(plain),
        "median_ratio": statistics.median(ratios),
        "median_ratio_interval": median_interval(ratios),
    }


def table(results: dict[str, Any]) -> Table:
    """One row a case and clock."""
    shown = Table("case", "clock", "plain, ms", "controlled, ms", "ratio", "95 % interval")
    for name, clocks in results.items():
        for clock, each in clocks.items():
            low, high = each["median_ratio_interval"]
            row = (f"{each['plain_ms']:.0f}", f"{each['controlled_ms']:.0f}", f"{each['median_ratio']:.3f}")
            shown.add_row(name, clock, *row, f"{low:.3f} … {high:.3f}")
    return shown


if __name__ == "__main__":
    main()
