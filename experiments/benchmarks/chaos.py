"""Does a run lose anything when its controller is killed over and over, and reports come late, twice and out of order?

    python experiments/benchmarks/chaos.py --output experiments/results/chaos

Ranks in processes of their own take steps as fast as they can. The controller's process is killed (kill -9) at random,
on average every ``--kill-every`` rounds; each rank's line delays, doubles, repeats and reorders its reports. Afterwards
every step's coefficients are held, bit for bit, against a bare loop over ``Controller.step`` that met no fault. Prints
a table, writes JSON and a plot, and exits with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import ray
from chaos_figure import draw
from chaos_rank import CONFIG, ChaosRank, RankLog, Weather
from chaos_verdict import Verdict, judge, kill_costs
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from maxent_ray.runtime.actor import get_or_create
from maxent_ray.runtime.connecting import NAMESPACE
from maxent_ray.runtime.options import ClientOptions

COST_BAR_S = 5.0
POLL_S = 0.02


def main() -> int:
    """Soak, judge, report."""
    arguments = _arguments()
    with redirect_stdout(_WithoutObituaries(sys.stdout)), redirect_stderr(_WithoutObituaries(sys.stderr)):
        return _soak(arguments)


class _WithoutObituaries(io.TextIOBase):
    """Ray prints a paragraph for every worker that dies, and here they die on purpose."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drops_newline = False

    def write(self, text: str) -> int:
        """Pass on what is no obituary, nor the end of its line."""
        drops = "(raylet)" in text or (self._drops_newline and text == "\n")
        self._drops_newline = "(raylet)" in text
        return len(text) if drops else self._stream.write(text)

    def flush(self) -> None:
        """As the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """As the stream."""
        return self._stream.isatty()


def _soak(arguments: argparse.Namespace) -> int:
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
        object_store_memory=100_000_000,
    )
    run_id = f"chaos-{arguments.seed}"
    options = ClientOptions(lag=arguments.lag, timeout_s=30.0, retries=20, backoff_s=0.1)
    controller = get_or_create(run_id, CONFIG, arguments.ranks, NAMESPACE)
    rank_actor: Any = ray.remote(ChaosRank).options(num_cpus=0, max_concurrency=2)
    ranks = [rank_actor.remote(run_id, rank, arguments.ranks, options, Weather()) for rank in range(arguments.ranks)]
    ray.get([rank.progress.remote() for rank in ranks])
    started = time.monotonic()
    running = [rank.run.remote(arguments.rounds) for rank in ranks]
    kills = _kill_now_and_then(controller, ranks[0], running, arguments)
    logs: list[RankLog] = ray.get(running)
    seconds = time.monotonic() - started
    verdict = judge(logs, arguments.rounds, arguments.lag)
    costs = kill_costs(kills, logs[0].finished)
    _report(arguments, verdict, costs, logs, seconds)
    draw(logs[0], kills, arguments.output / "chaos.png")
    ray.kill(controller)
    ray.shutdown()
    return 0 if verdict.holds and verdict.rounds == arguments.rounds else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/chaos"))
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--kill-every", type=float, default=50.0, help="rounds between two kills, on average")
    parser.add_argument("--lag", type=int, choices=(0, 1), default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _kill_now_and_then(controller: Any, rank: Any, running: list[Any], arguments: argparse.Namespace) -> list[float]:
    """Kill the controller's process at random rounds until all ranks are done; when each kill fell."""
    draw = random.Random(arguments.seed)
    kills: list[float] = []
    due = draw.expovariate(1 / arguments.kill_every)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("rounds", total=arguments.rounds)
        while len(ray.wait(running, num_returns=len(running), timeout=POLL_S)[0]) < len(running):
            done = ray.get(rank.progress.remote())
            progress.update(bar, completed=done, description=f"rounds, {len(kills)} kills")
            if done >= due and done < arguments.rounds - 1:
                process = ray.get(controller.__ray_call__.remote(lambda _: os.getpid()))
                kills.append(time.monotonic())
                os.kill(process, signal.SIGKILL)
                due = done + max(1.0, draw.expovariate(1 / arguments.kill_every))
        progress.update(bar, completed=arguments.rounds)
    return kills


def _report(
    arguments: argparse.Namespace, verdict: Verdict, costs: list[float], logs: list[RankLog], seconds: float
) -> None:
    faults = sum((Counter(log.faults) for log in logs), Counter[str]())
    counters = sum((Counter(log.counters) for log in logs), Counter[str]())
    median = statistics.median(costs) if costs else 0.0
    lines = [
        ("rounds done", str(verdict.rounds), f"= {arguments.rounds}"),
        ("kills of the controller", str(len(costs)), ""),
        ("reports doubled, repeated", f"{faults['doubled']}, {faults['repeated']}", ""),
        ("reports delayed, overtaken", f"{faults['delayed']}, {faults['overtaken']}", ""),
        ("calls that failed, retries", f"{counters['failed_calls']}, {counters['retries']}", ""),
        ("steps without the controller", str(counters["held_steps"] + counters["local_steps"]), ""),
        ("lost updates", str(verdict.lost_updates), "= 0"),
        ("steps on which ranks disagreed", str(verdict.disagreements), "= 0"),
        ("steps unlike those of a run without faults", str(verdict.departures), "= 0"),
        ("a kill costs (median, largest)", f"{median:.2f} s, {max(costs, default=0.0):.2f} s", f"≤ {COST_BAR_S:g} s"),
        ("in all", f"{seconds:.0f} s", ""),
    ]
    table = Table("soak", "measured", "bar", title=f"{arguments.ranks} ranks, lag {arguments.lag}")
    for line in lines:
        table.add_row(*line)
    Console().print(table)
    arguments.output.mkdir(parents=True, exist_ok=True)
    result = {
        "schema": 1,
        "settings": {name: value for name, value in vars(arguments).items() if name != "output"},
        **asdict(verdict),
        "kills": len(costs),
        "kill_costs_s": [round(cost, 3) for cost in costs],
        "median_kill_cost_s": round(median, 3),
        "faults": dict(faults),
        "counters": dict(counters),
        "seconds": round(seconds, 1),
    }
    (arguments.output / "summary.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    sys.exit(main())
