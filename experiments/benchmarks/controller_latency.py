"""Latency from a report to coefficients, beside a bare actor that runs ``Controller.step``, in one run.

    python experiments/benchmarks/controller_latency.py --output experiments/results/controller_latency

With ``lag=0``, so that nothing is overlapped. The bare actor gets the same state and the same statistics, as Ray
pickles them, and returns state and decision. In turn with it: an empty call, the client of a run of one rank, and,
between two more processes, that of a run of two ranks, which reduce and share. Prints medians and ratios, writes JSON.
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
os.environ.setdefault("OMP_NUM_THREADS", "1")

import ray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.connect import connect
from maxent_ray.runtime.options import ClientOptions

CONFIG = ControllerConfig(group_size=8, target_entropy=1.97, target_kl=0.05)
WARM_UP = 50
BARS = {"one rank / bare": 1.15, "two ranks - one rank (ms)": 1.0}


def measured(step: int) -> BatchStatistics:
    """Statistics close to the targets, so that no alarm is raised."""
    sign = 1 if step % 2 else -1
    entropy, kl = 24 * (1.97 + 0.01 * sign), 1500 * (0.05 + 0.002 * sign)
    return BatchStatistics(groups=24, completions=192, tokens=1500, weight_entropy_sum=entropy, policy_kl_sum=kl)


class Bare:
    """An actor around the controller, without a runtime."""

    def __init__(self) -> None:
        self._controller = Controller(CONFIG)

    def empty(self) -> None:
        """Return at once."""

    def step(self, state: Any, found: BatchStatistics) -> Any:
        """``Controller.step``."""
        return self._controller.step(state, found)


class Rank:
    """One of two ranks."""

    def join(self, rank: int) -> None:
        """Connect."""
        self._client = connect("two-ranks", rank, 2, CONFIG, options=ClientOptions(lag=0))

    def run(self, start: int, stop: int) -> list[float]:
        """Seconds of each step."""
        return [timed(lambda step=step: round_trip(self._client, step)) for step in range(start, stop)]


def round_trip(client: ControllerClient, step: int) -> None:
    """Report, and get the next coefficients."""
    client.report(step, measured(step))
    client.coefficients(step + 1)


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Measure in turn, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/controller_latency"))
    parser.add_argument("--rounds", type=int, default=600)
    arguments = parser.parse_args()
    ray.init(address="local", include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    bare: Any = ray.remote(Bare).options(num_cpus=0).remote()
    client = connect("one-rank", 0, 1, CONFIG, options=ClientOptions(lag=0))
    ranks = [ray.remote(Rank).options(num_cpus=0).remote() for _ in range(2)]
    ray.get([actor.join.remote(rank) for rank, actor in enumerate(ranks)])
    state = Controller(CONFIG).init()
    seconds: dict[str, list[float]] = {"empty call": [], "bare": [], "one rank": [], "two ranks": []}
    for step in track(range(arguments.rounds), description="rounds"):
        seconds["empty call"].append(timed(lambda: ray.get(bare.empty.remote())))
        began = time.perf_counter()
        state, _ = ray.get(bare.step.remote(state, measured(step)))
        seconds["bare"].append(time.perf_counter() - began)
        seconds["one rank"].append(timed(lambda step=step: round_trip(client, step)))
        if step % 50 == 49:  # several at a time: the call itself is not to count
            seconds["two ranks"] += ray.get([actor.run.remote(step - 49, step + 1) for actor in ranks])[0]
    medians = {name: statistics.median(values[WARM_UP:]) for name, values in seconds.items()}
    found = {
        "one rank / bare": medians["one rank"] / medians["bare"],
        "two ranks - one rank (ms)": 1e3 * (medians["two ranks"] - medians["one rank"]),
    }
    table = Table("", "median", "bar")
    for name, value in medians.items():
        table.add_row(name, f"{1e3 * value:.2f} ms", "")
    for name, value in found.items():
        table.add_row(name, f"{value:.2f}", f"≤ {BARS[name]:g}")
    Console().print(table)
    arguments.output.mkdir(parents=True, exist_ok=True)
    result = {"schema": 1, "rounds": arguments.rounds, "median_seconds": medians, **found}
    (arguments.output / "summary.json").write_text(json.dumps(result, indent=1))
    client.close()


if __name__ == "__main__":
    main()
