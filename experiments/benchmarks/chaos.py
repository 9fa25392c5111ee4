"""Soak test: coefficients of all ranks while controller and ranks are killed, stopped and disconnected at random.

    python experiments/benchmarks/chaos.py --output experiments/results/chaos

Ranks in processes of their own take steps of ``--pace`` seconds, and report some of them twice. The controller's
process is killed (kill -9) on average every ``--kill-every`` rounds, and stopped as often: half the time for a moment,
which delays its answers, else for longer than rank 0 waits, as a cut line does. A rank is killed every
``--kill-rank-every`` rounds: the others must name it, and all resume from a state that any one rank gave while it
trained. Afterwards every coefficient of every rank, and every decision, is compared bitwise with a bare loop over
``Controller.step`` that met no fault. Prints a table, writes JSON and a plot, and exits with 1 if anything was lost.
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
import tempfile
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
from chaos_rank import ChaosRank, Step, read_decisions, read_steps
from chaos_verdict import Verdict, judge, kill_costs, longest_step
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from maxent_ray.runtime.connect import NAMESPACE
from maxent_ray.runtime.options import ClientOptions

COST_BAR_S = 5.0
ROUND_TIMEOUT_S = 30.0
POLL_S = 0.02
CHECKPOINT_EVERY = 20


def main() -> int:
    """Run the soak, compare it with a bare loop, print the result."""
    arguments = _arguments()
    with redirect_stdout(_WithoutObituaries(sys.stdout)), redirect_stderr(_WithoutObituaries(sys.stderr)):
        return _soak(arguments)


class _WithoutObituaries(io.TextIOBase):
    """Stream without Ray's paragraphs on dead workers, which die on purpose here."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drops_newline = False

    def write(self, text: str) -> int:
        """Write anything but such a paragraph, and the end of its line."""
        drops = "(raylet)" in text or (self._drops_newline and text == "\n")
        self._drops_newline = "(raylet)" in text
        return len(text) if drops else self._stream.write(text)

    def flush(self) -> None:
        """Delegate to the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Delegate to the stream."""
        return self._stream.isatty()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/chaos"))
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--kill-every", type=float, default=50.0, help="rounds between two kills, on average")
    parser.add_argument("--kill-rank-every", type=float, default=250.0, help="rounds between two kills of a rank")
    parser.add_argument("--timeout", type=float, default=ClientOptions().timeout_s, help="of rank 0 for the controller")
    parser.add_argument("--pace", type=float, default=0.02, help="seconds that a step trains for")
    parser.add_argument("--lag", type=int, choices=(0, 1), default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _soak(arguments: argparse.Namespace) -> int:
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
        object_store_memory=100_000_000,
    )
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.monotonic()
        soak = Soak(arguments, folder)
        soak.run()
        seconds = time.monotonic() - started
        seen = [read_steps(folder, rank) for rank in range(arguments.ranks)]
        verdict = judge(seen, read_decisions(folder), arguments.rounds, arguments.lag)
    _report(arguments, verdict, soak, seen[0], seconds)
    draw(seen[0], soak.faults, arguments.output / "chaos.png")
    ray.shutdown()
    return 0 if verdict.holds and verdict.rounds == arguments.rounds and soak.misnamed == 0 else 1


class Soak:
    """All attempts of one run: a rank's death ends one, and the next resumes from the newest checkpoint."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self._arguments = arguments
        self._options = ClientOptions(
            lag=arguments.lag, timeout_s=arguments.timeout, round_timeout_s=ROUND_TIMEOUT_S
        )
        self._host: Any = ray.remote(ChaosRank).options(num_cpus=0, max_concurrency=3)
        self._folder = folder
        self._draw = random.Random(arguments.seed)
        self._due = {
            "controller killed": self._after(0, arguments.kill_every),
            "controller stopped": self._after(0, arguments.kill_every),
            "rank killed": self._after(0, arguments.kill_rank_every),
        }
        self._wakes: tuple[float, int] | None = None
        """Time at which a stopped controller is continued, and its process."""
        self.faults: dict[str, list[float]] = {kind: [] for kind in self._due}
        self.counters: Counter[str] = Counter()
        self.misnamed = 0
        self.naming_s: list[float] = []
        """Seconds from a rank's death until all others have the error."""

    def run(self) -> None:
        """Train all rounds."""
        ranks = [self._host.remote(self._folder, rank) for rank in range(self._arguments.ranks)]
        state, attempt = None, 0
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("rounds", total=self._arguments.rounds)
            while True:
                attempt += 1
                victim, state = self._attempt(f"chaos-{attempt}", ranks, state, progress, bar)
                if victim is None:
                    progress.update(bar, completed=self._arguments.rounds)
                    return
                ranks[victim] = self._host.remote(self._folder, victim)

    def _attempt(
        self, run_id: str, ranks: list[Any], state: Any, progress: Progress, bar: Any
    ) -> tuple[int | None, Any]:
        """Train until the end or a rank's death; returns that rank, and the state to resume from."""
        name = ray.get([rank.join.remote(run_id, len(ranks), self._options, state) for rank in ranks])[0]
        controller = ray.get_actor(f"maxent-controller-{name}", NAMESPACE)
        start = 0 if state is None else state["state"]["step"] + 1 + (state["pending"] is not None)
        running = [rank.run.remote(start, self._arguments.rounds, self._arguments.pace) for rank in ranks]
        victim, saved_at = None, start
        while len(ray.wait(running, num_returns=len(running), timeout=POLL_S)[0]) < len(running):
            self._wake()
            if victim is not None:
                continue
            done = ray.get(ranks[0].progress.remote())
            progress.update(bar, completed=done, description=f"rounds, {sum(map(len, self.faults.values()))} faults")
            if done - saved_at >= CHECKPOINT_EVERY:
                state, saved_at = ray.get(self._draw.choice(ranks).state_dict.remote()), done
            if done >= self._arguments.rounds - 2:
                continue
            if self._is_due("rank killed", done, self._arguments.kill_rank_every) and state is not None:
                victim = self._draw.randrange(len(ranks))
                os.kill(ray.get(ranks[victim].process.remote()), signal.SIGKILL)
            self._hurt_controller(controller, done)
        self._collect(running, victim)
        self._wake(now=True)
        return victim, state

    def _hurt_controller(self, controller: Any, done: int) -> None:
        """Kill or stop the controller when it is due."""
        if self._wakes is not None:
            return
        kinds = ("controller killed", "controller stopped")
        process = self._process(controller) if any(done >= self._due[kind] for kind in kinds) else None
        if process is None:  # not due, or not back yet
            return
        if self._is_due("controller killed", done, self._arguments.kill_every):
            os.kill(process, signal.SIGKILL)
        elif self._is_due("controller stopped", done, self._arguments.kill_every):
            long = self._arguments.timeout * self._draw.uniform(1.1, 1.5)
            seconds = self._draw.choice((self._draw.uniform(0.0, 0.1), long))
            self.counters["cut off"] += seconds == long
            os.kill(process, signal.SIGSTOP)
            self._wakes = time.monotonic() + seconds, process

    def _process(self, controller: Any) -> int | None:
        """Present process of the controller: a new one after a kill, None until it has started."""
        try:
            return int(ray.get(controller.__ray_call__.remote(lambda _: os.getpid()), timeout=0.5))
        except ray.exceptions.RayError:
            return None

    def _wake(self, now: bool = False) -> None:
        if self._wakes is not None and (now or time.monotonic() >= self._wakes[0]):
            os.kill(self._wakes[1], signal.SIGCONT)
            self._wakes = None

    def _collect(self, running: list[Any], victim: int | None) -> None:
        """Add up the counters of an attempt, and check that all remaining ranks named the dead one."""
        for rank, each in enumerate(running):
            if rank == victim:
                continue
            told = ray.get(each)
            lost = told.pop("lost")
            named = f"rank {victim} of" in lost or (victim == 0 and "rank 0 " in lost)
            self.misnamed += victim is not None and not named
            self.counters["doubled"] += told["doubled"]
            if rank == 0:
                self.counters["decided locally"] += told["decided_locally"]
        if victim is not None:
            self.naming_s.append(time.monotonic() - self.faults["rank killed"][-1])

    def _is_due(self, kind: str, done: int, every: float) -> bool:
        if done < self._due[kind]:
            return False
        self._due[kind] = self._after(done, every)
        self.faults[kind].append(time.monotonic())
        return True

    def _after(self, done: int, every: float) -> float:
        return done + max(1.0, self._draw.expovariate(1 / every))


def _report(arguments: argparse.Namespace, verdict: Verdict, soak: Soak, steps: list[Step], seconds: float) -> None:
    finished = [step.time for step in steps]
    others = [*soak.faults["controller stopped"], *soak.faults["rank killed"]]
    costs = kill_costs(soak.faults["controller killed"], others, finished)
    median, slowest = (statistics.median(costs), max(costs)) if costs else (0.0, 0.0)
    longest = longest_step(soak.faults["rank killed"], finished)
    naming = max(soak.naming_s, default=0.0)
    lines = [
        ("rounds done", str(verdict.rounds), f"= {arguments.rounds}"),
        ("kills of the controller", str(len(costs)), ""),
        ("stops of the controller", str(len(soak.faults["controller stopped"])), ""),
        ("of these, beyond rank 0's time limit", str(soak.counters["cut off"]), ""),
        ("kills of a rank", str(len(soak.naming_s)), ""),
        ("reports doubled", str(soak.counters["doubled"]), ""),
        ("rounds decided locally", str(soak.counters["decided locally"]), ""),
        ("lost updates", str(verdict.lost_updates), "= 0"),
        ("steps on which ranks disagreed", str(verdict.disagreements), "= 0"),
        ("steps unlike those without faults", str(verdict.departures), "= 0"),
        ("ranks that named the wrong rank", str(soak.misnamed), "= 0"),
        ("until all know of a death (largest)", f"{naming:.2f} s", f"≤ {ROUND_TIMEOUT_S:g} s"),
        ("a kill costs (median, largest)", f"{median:.2f} s, {slowest:.2f} s", f"≤ {COST_BAR_S:g} s"),
        ("longest step, but for restarts", f"{longest:.2f} s", f"≤ {arguments.timeout:g} s + a step"),
        ("in all", f"{seconds:.0f} s", ""),
    ]
    table = Table("soak", "measured", "bar", title=f"{arguments.ranks} ranks, lag {arguments.lag}")
    for line in lines:
        table.add_row(*line)
    Console().print(table)
    arguments.output.mkdir(parents=True, exist_ok=True)
    result = {
        "schema": 2,
        "settings": {name: value for name, value in vars(arguments).items() if name != "output"},
        **asdict(verdict),
        "faults": {kind: len(moments) for kind, moments in soak.faults.items()},
        "counters": dict(soak.counters),
        "misnamed": soak.misnamed,
        "naming_s": [round(each, 3) for each in soak.naming_s],
        "kill_costs_s": [round(cost, 3) for cost in costs],
        "median_kill_cost_s": round(median, 3),
        "longest_step_s": round(longest, 3),
        "seconds": round(seconds, 1),
    }
    (arguments.output / "summary.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    sys.exit(main())
