"""Cost of a live results page for training: paired blocks of steps with an open page and without one.

    python experiments/benchmarks/page_cost.py --output experiments/results/page_cost

One worker trains and records its rows as a run does. The page's process serves them all the time, as beside every
run; in every other block (A B B A …) a page is open in another process, as a browser has it: it follows the events,
and fetches the run and its curves anew whenever they tell of a change. Prints the paired ratio, and the share of a
processor that the page's process takes while a page is open, which bounds the ratio where no core is idle. Writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from median_interval import median_interval
from rich.progress import track

from maxent_ray.config.loading import dump_config, load_config
from maxent_ray.dashboard.page_process import PageProcess
from maxent_ray.runtime.connect import connect
from maxent_ray.storage.json_lines import append
from maxent_ray.storage.run_files import CONFIG, ROWS
from maxent_ray.train.worker import TrainingWorker

BROWSER = """
import json, sys, urllib.request
url, run = sys.argv[1], sys.argv[1] + "/api/runs/live"
shown = "&".join("signal=" + name for name in ("entropy", "target_entropy", "kl", "target_kl", "tau", "beta", "reward"))
for line in urllib.request.urlopen(url + "/api/events?run=live"):
    if line.startswith(b"event: run\\n"):
        for address in (run, run + "/series?" + shown, run + "/decisions?newest=1"):
            urllib.request.urlopen(address).read()
"""


def take_steps(worker: Any, file: Path, seconds: float) -> list[float]:
    """Train and record for some time; seconds of each step."""
    found, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        started = time.perf_counter()
        row = worker.step()
        append(file, [{**row.to_dict(), "trial": "live", "segment": 0}])
        found.append(time.perf_counter() - started)
    return found


def measure(results: Path, pairs: int, block_s: float) -> dict[str, list[float]]:
    """Median seconds of a step in each block, with an open page and without."""
    config, folder = load_config(overrides=["task.name=countdown_small"]), results / "live"
    folder.mkdir()
    dump_config(config, folder / CONFIG)
    worker = TrainingWorker(config, connect("page-cost", 0, 1, config.controller_config(), local=True))
    take_steps(worker, folder / ROWS, block_s)
    page = PageProcess(results, port=0)
    medians: dict[str, list[float]] = {"open": [], "closed": [], "page_cpu": []}
    try:
        for pair in track(range(pairs), description="pairs of blocks"):
            for state in ("open", "closed") if pair % 2 == 0 else ("closed", "open"):
                browser = None
                if state == "open":
                    browser = subprocess.Popen([sys.executable, "-c", BROWSER, page.url])
                    time.sleep(1.0)
                cpu, started = page.processor_seconds, time.monotonic()
                medians[state].append(statistics.median(take_steps(worker, folder / ROWS, block_s)))
                if browser is not None:
                    medians["page_cpu"].append((page.processor_seconds - cpu) / (time.monotonic() - started))
                    assert browser.poll() is None, "the page was closed"
                    browser.kill()
                    browser.wait()
    finally:
        page.close()
    return medians


def main() -> None:
    """Measure; print the median of the paired ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/page_cost"))
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--block-s", type=float, default=6.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        medians = measure(Path(place), arguments.pairs, arguments.block_s)
    ratios = [a / b for a, b in zip(medians["open"], medians["closed"], strict=True)]
    low, high = median_interval(ratios)
    print(f"{'page':8s} {'median s/step':>14s}")
    cpu = medians.pop("page_cpu")
    for state, values in medians.items():
        print(f"{state:8s} {statistics.median(values):14.4f}")
    ratio = statistics.median(ratios)
    print(f"median of {len(ratios)} paired ratios {ratio:.4f} (95 % interval {low:.4f} to {high:.4f})")
    print(f"the page takes {statistics.median(cpu):.4f} of a processor while one is open")
    result = {
        "schema": 1,
        "pairs": arguments.pairs,
        "block_seconds": arguments.block_s,
        "cpus": os.cpu_count(),
        "load_before": load,
        "median_seconds": {state: statistics.median(values) for state, values in medians.items()},
        "median_of_paired_ratios": ratio,
        "page_cpu_share": statistics.median(cpu),
        "interval_of_paired_ratios": [low, high],
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "summary.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
