"""Time until the results page shows a large run: 100 trials of 10,000 rows, from cold.

    python experiments/benchmarks/page_load.py --output experiments/results/page_load

Writes such a folder, starts the page in a new process, and asks for what a browser asks for: the list of runs, the
run, its curves, and a zoom into them. A file this large is sampled first, so the page has something to show at once;
``all_rows_read`` is the time until every row is, and curves are exact. Lines with ``cpu`` are the process' own time on
a processor, which other programs on the machine do not change. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import apply_overrides, dump_config
from maxent_ray.dashboard.page_process import PageProcess
from maxent_ray.dashboard.trial_rows import NAMES
from maxent_ray.storage.run_files import CONFIG, DECISIONS, ROWS

SHOWN = ("entropy", "target_entropy", "kl", "target_kl", "tau", "beta", "reward", "pass_rate")
"""Signals that the page draws first."""


def write_run(folder: Path, trials: int, steps: int) -> None:
    """Write rows and decisions of made-up trials that train in turn, as a comparison does."""
    folder.mkdir(parents=True)
    dump_config(apply_overrides(ExperimentConfig(), {"train.steps": steps}), folder / CONFIG)
    (folder / "tune").mkdir()
    rng = np.random.default_rng(0)
    with (folder / ROWS).open("w") as rows, (folder / DECISIONS).open("w") as decisions:
        for step in range(steps):
            values = rng.random((trials, len(NAMES))).tolist()
            for trial, own in enumerate(values):
                place = {"trial": f"analytic-{trial}", "segment": 0, "step": step}
                signals = dict(zip(NAMES, own, strict=True))
                row = {"rank": 0, "objective": "analytic", **signals, "reason": "updated", **place}
                rows.write(json.dumps(row) + "\n")
                made = {"version": step + 1, "reason": "updated", "events": [], "alarms": []}
                kept = {name: signals[name] for name in ("tau", "beta", "entropy", "kl", "target_kl")}
                decisions.write(json.dumps({**place, **made, **kept}) + "\n")


def fetch(url: str) -> Any:
    """One answer, as JSON; tried again while the process starts."""
    with urllib.request.urlopen(url, timeout=600) as answer:
        return json.loads(answer.read())


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns."""
    started = time.perf_counter()
    found = act()
    return time.perf_counter() - started, found


def measure(results: Path) -> dict[str, float]:
    """Seconds from the start of the page's process to each answer."""
    started = time.perf_counter()
    page = PageProcess(results, port=0)
    run = f"{page.url}/api/runs/large"
    curves = f"{run}/series?" + "&".join(f"signal={name}" for name in SHOWN)
    found: dict[str, float] = {}
    try:
        fetch(f"{page.url}/api/health")
        found["process_ready"] = time.perf_counter() - started
        cpu = page.processor_seconds
        found["list"], _ = timed(lambda: fetch(f"{page.url}/api/runs"))
        found["run"], _ = timed(lambda: fetch(run))
        found["curves"], first = timed(lambda: fetch(curves))
        found["open"] = found["list"] + found["run"] + found["curves"]
        found["open_cpu"] = page.processor_seconds - cpu
        while fetch(run)["reading"]:
            time.sleep(0.2)
        found["all_rows_read"] = time.perf_counter() - started - found["process_ready"]
        while not fetch(run)["counts"]["decisions"]:
            time.sleep(0.2)
        found["all_read_cpu"] = page.processor_seconds - cpu
        found["all_decisions_read"] = time.perf_counter() - started - found["process_ready"]
        found["run_again"], _ = timed(lambda: fetch(run))
        found["curves_again"], whole = timed(lambda: fetch(curves))
        found["zoom"], zoomed = timed(lambda: fetch(f"{run}/series?signal=kl&from=5000&to=5300"))
        found["decisions"], _ = timed(lambda: fetch(f"{run}/decisions?newest=1&trial=analytic-7"))
        assert len(first["series"]) == len(whole["series"]) and all(each["exact"] for each in zoomed["series"])
    finally:
        page.close()
    return found


def main() -> None:
    """Make the folder, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/page_load"))
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        results = Path(place)
        write_run(results / "large", arguments.trials, arguments.steps)
        sizes = {name: (results / "large" / name).stat().st_size for name in (ROWS, DECISIONS)}
        loads, measured = [], []
        for _ in range(arguments.repeats):
            loads.append(os.getloadavg()[0])
            measured.append(measure(results))
    seconds = {name: [each[name] for each in measured] for name in measured[0]}
    print(f"{arguments.trials} trials x {arguments.steps} rows, {sum(sizes.values()) / 1e6:.0f} MB")
    print(f"{'':20s} {'median s':>9s} {'best s':>9s}")
    for name, values in seconds.items():
        print(f"{name:20s} {np.median(values):9.2f} {min(values):9.2f}")
    result = {
        "schema": 1,
        "trials": arguments.trials,
        "steps": arguments.steps,
        "bytes": sizes,
        "cpus": os.cpu_count(),
        "load_before": loads,
        "seconds": seconds,
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "summary.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
