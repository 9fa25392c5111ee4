"""Time, memory and accuracy of the hypergradient modes at K = 1, 2, 4, 8, 16.

    python experiments/benchmarks/hypergradient.py --output experiments/results/hypergradient

The training worker's unroll: policy loss on 64 sequences, AdamW's frozen preconditioner, H and KL on 64 others. Time is
the median of ratios to the same K plain steps (and a look at H and KL after them), called in turn in one process;
memory is the peak of a separate process for each (mode, K). Prints tables and every bar, writes ``summary.json`` and
``cost.png``, and exits 1 if a bar does not hold. The same on a GPU, with a random model of 200 M parameters:

    python experiments/benchmarks/hypergradient.py --device cuda --layers 12 --width 1024 --output …
    … --dtype bfloat16 --methods first_order
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from unroll_accuracy import Accuracy, accuracies
from unroll_bars import Bar, judge
from unroll_cost import Memory, Time, measure_memory, time_methods
from unroll_figure import draw_costs
from unroll_methods import HAS_TORCHOPT, METHODS, PLAIN, TORCHOPT
from unroll_problem import UnrollProblem, exact_policy, make_problem, random_policy

from maxent_ray.policy import load_policy, parameter_count

STEPS = (1, 2, 4, 8, 16)
PARTS = ("accuracy", "time", "memory")
CONSOLE = Console(width=120)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/hypergradient"))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of forward passes")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, metavar="K")
    parser.add_argument("--methods", nargs="+", choices=METHODS[1:], default=METHODS[1:])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--inner-steps", type=int, default=16, help="rounds of timing at K: this over K, at least 3")
    parser.add_argument("--layers", type=int, default=0, help="with --width: a random model of that size")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="memory measurements at a time on CPU")
    return parser.parse_args()


def main() -> int:
    """Measure, print, write; 0 if every bar holds."""
    arguments = parse()
    started = time.perf_counter()
    torch.set_num_threads(arguments.threads)
    device, forward_dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    methods = [method for method in arguments.methods if method != TORCHOPT or HAS_TORCHOPT]
    if TORCHOPT in arguments.methods and not HAS_TORCHOPT:
        CONSOLE.print("torchopt is not installed (pip install -e '.[dev]'): its columns are missing")

    accuracy: list[Accuracy] = []
    if "accuracy" in arguments.parts:
        exact = make_problem(exact_policy(device))
        for steps in track(arguments.steps, "accuracy, float64 and float32", console=CONSOLE):
            accuracy += accuracies(exact, steps)

    policy = random_policy(arguments.layers, arguments.width, device) if arguments.layers else None
    policy = policy or load_policy("embedded:countdown_small", device=device)
    problem = make_problem(policy, forward_dtype=forward_dtype)
    times = {}
    if "time" in arguments.parts:
        times = measure_times(problem, methods, arguments.steps, arguments.inner_steps)
    memories = {}
    if "memory" in arguments.parts:
        memories = measure_memories(problem, methods, arguments.steps, 1 if device.type == "cuda" else arguments.jobs)

    bars = judge(times, memories, accuracy)
    settings = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "dtype": arguments.dtype,
        "parameters": parameter_count(problem.model),
        "sequences": problem.unroll.inner_batch.rewards.numel(),
        "tokens": problem.batch.rollout.input_ids.shape[1],
        "threads": arguments.threads,
        "torch": torch.__version__,
        "seconds": round(time.perf_counter() - started),
    }
    report(settings, times, memories, accuracy, bars)
    arguments.output.mkdir(parents=True, exist_ok=True)
    write(arguments.output / "summary.json", settings, times, memories, accuracy, bars)
    if times and memories:
        draw_costs(times, memories, arguments.output / "cost.png")
    return 0 if all(bar.holds for bar in bars) else 1


def measure_times(
    problem: UnrollProblem, methods: Sequence[str], steps: Sequence[int], inner_steps: int
) -> dict[tuple[str, int], Time]:
    """Times by (method, K)."""
    found = {}
    for count in track(steps, "time, paired with plain steps", console=CONSOLE):
        rounds = max(3, inner_steps // count)
        found.update({(m, count): cost for m, cost in time_methods(problem, methods, count, rounds).items()})
    return found


def measure_memories(
    problem: UnrollProblem, methods: Sequence[str], steps: Sequence[int], jobs: int
) -> dict[tuple[str, int], Memory]:
    """Peak memory by (method, K)."""
    cases = [(method, count) for count in sorted(steps, reverse=True) for method in (PLAIN, *methods)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.pt"
        torch.save(problem, path)
        measured = measure_memory(path, cases, jobs=jobs)
        return dict(track(measured, "memory, one process each", total=len(cases), console=CONSOLE))


def report(
    settings: Mapping[str, object],
    times: Mapping[tuple[str, int], Time],
    memories: Mapping[tuple[str, int], Memory],
    accuracy: Sequence[Accuracy],
    bars: Sequence[Bar],
) -> None:
    """Print the results."""
    CONSOLE.print(", ".join(f"{name} {value}" for name, value in settings.items()))
    if times:
        rows = {key: f"{cost.ratio:.2f} ({cost.low:.2f}–{cost.high:.2f})" for key, cost in times.items()}
        rows.update({key: f"{cost.seconds:.3f} s" for key, cost in times.items() if key[0] == PLAIN})
        CONSOLE.print(grid("Time: ratio to the plain K steps, median (smallest–largest)", rows))
    if memories:
        unroll = {key: f"{cost.unroll / 2**20:.1f}" for key, cost in memories.items()}
        CONSOLE.print(grid("Memory of the unroll: peak above model, batch and code (MiB)", unroll))
        process = {key: f"{cost.process / 2**20:.0f}" for key, cost in memories.items()}
        CONSOLE.print(grid("Peak of the process (MiB)", process))
    if accuracy:
        pairs = ("forward, reverse", "forward, differences", "reverse, differences", "first order, reverse")
        table = Table("dtype", "K", *pairs, "dKL/dτ", "dKL/dβ", title_justify="left")
        table.title = "Largest relative difference of"
        for line in accuracy:
            table.add_row(*(f"{v:.1e}" if isinstance(v, float) else str(v) for v in asdict(line).values()))
        CONSOLE.print(table)
    table = Table("bar", "measured", "limit", "holds", title="Bars", title_justify="left")
    for bar in bars:
        table.add_row(bar.name, f"{bar.measured:.3g} (K = {bar.steps})", f"{bar.limit:g}", "yes" if bar.holds else "NO")
    CONSOLE.print(table)


def grid(title: str, cells: Mapping[tuple[str, int], str]) -> Table:
    """Table with a row for each method and a column for each K."""
    steps = sorted({count for _, count in cells})
    table = Table("", *(f"K = {count}" for count in steps), title=title, title_justify="left")
    for method in dict.fromkeys(METHODS):
        if (method, steps[0]) in cells:
            table.add_row(method, *(cells[method, count] for count in steps))
    return table


def write(
    path: Path,
    settings: Mapping[str, object],
    times: Mapping[tuple[str, int], Time],
    memories: Mapping[tuple[str, int], Memory],
    accuracy: Sequence[Accuracy],
    bars: Sequence[Bar],
) -> None:
    """Write all results as JSON."""
    summary = {
        "schema": 1,
        "settings": dict(settings),
        "time": [{"method": m, "steps": k, **asdict(cost)} for (m, k), cost in sorted(times.items())],
        "memory_bytes": [{"method": m, "steps": k, **asdict(cost)} for (m, k), cost in sorted(memories.items())],
        "accuracy": [asdict(line) for line in accuracy],
        "bars": [{**asdict(bar), "holds": bar.holds} for bar in bars],
    }
    path.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
