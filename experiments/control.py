"""Accuracy of control: both objectives, two pairs of targets, τ₀ ten times too low and too high, three seeds.

    python experiments/control.py --output experiments/results/control

Passes when, over the last 40 of 120 steps, |mean H − H*| ≤ 3 % of H* and |mean KL − KL*| ≤ 15 % of KL* (truncated
backprop: 25 %). Prints a table, writes ``summary.json`` and ``trajectories.png``, and exits 1 if a run falls short.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from side_by_side import run_all

from maxent_ray.report.plots.canvas import agg_figure

TARGETS = {"tight": (0.95, 0.05), "loose": (0.85, 0.10)}
"""Name → (H* as a fraction of log G, KL* in nats per token)."""
SETTLED_TAU = {"tight": 0.55, "loose": 0.25}
"""Final τ for each pair of targets; the starts are ten times lower and higher."""
STARTS = {"low": 0.1, "high": 10.0}
OBJECTIVES = {"analytic": 0.15, "truncated_backprop": 0.25}
"""Objective → largest relative error of KL."""
ENTROPY_BAR = 0.03
COLOURS = {"analytic": "#0072B2", "truncated_backprop": "#D55E00"}


def overrides(objective: str, targets: str, start: str, seed: int, steps: int) -> list[str]:
    """Settings of a run that differ from the defaults (G = 8, 24 prompts a step, embedded policy)."""
    fraction, kl = TARGETS[targets]
    return [
        "task.name=countdown_small",
        f"train.steps={steps}",
        f"train.seed={seed}",
        f"controller.tau={SETTLED_TAU[targets] * STARTS[start]:g}",
        f"controller.target_entropy_fraction={fraction}",
        f"controller.target_kl={kl}",
        f"controller.objective.type={objective}",
        *(["controller.objective.unroll.steps=2"] if objective == "truncated_backprop" else []),
    ]


def errors(rows: Sequence[Mapping[str, Any]], last: int = 40) -> dict[str, float]:
    """Relative errors of the means over the last steps, and the spread of single steps around the target."""
    tail = rows[-last:]
    target_entropy, target_kl = tail[-1]["target_entropy"], tail[-1]["target_kl"]
    return {
        "entropy_error": fmean(row["entropy"] for row in tail) / target_entropy - 1,
        "kl_error": fmean(row["kl"] for row in tail) / target_kl - 1,
        "kl_swing": fmean(abs(row["kl"] / target_kl - 1) for row in tail),
        "tau": tail[-1]["tau"],
        "beta": tail[-1]["beta"],
    }


def plot(records: Mapping[tuple[str, str, str, int], Mapping[str, Any]], path: Path) -> None:
    """H, KL, τ and β of every run against the step; a column for each pair of targets."""
    figure = agg_figure(figsize=(12, 11), layout="constrained")
    axes = figure.subplots(4, len(TARGETS), sharex=True)
    quantities = (("entropy", "H (nats)"), ("kl", "KL (nats per token)"), ("tau", "τ"), ("beta", "β"))
    for (objective, targets, _, _), record in records.items():
        column = list(TARGETS).index(targets)
        for axis, (key, _) in zip(axes[:, column], quantities, strict=True):
            values = [row[key] for row in record["rows"]]
            axis.plot(values, color=COLOURS[objective], linewidth=0.8, alpha=0.6)
    for column, (targets, (fraction, kl)) in enumerate(TARGETS.items()):
        entropy = next(r["rows"][0]["target_entropy"] for k, r in records.items() if k[1] == targets)
        axes[0, column].set_title(f"H* = {fraction} log G, KL* = {kl}")
        axes[0, column].axhspan(entropy * 0.97, entropy * 1.03, color="0.85", zorder=0)
        axes[1, column].axhspan(kl * 0.85, kl * 1.15, color="0.85", zorder=0)
        axes[2, column].set_yscale("log")
        axes[3, column].set_yscale("log")
        axes[3, column].set_xlabel("policy step (the last 40 are judged)")
        for axis, (_, label) in zip(axes[:, column], quantities, strict=True):
            axis.set_ylabel(label)
            axis.grid(alpha=0.3)
            axis.axvspan(80, 120, color="0.95", zorder=-1)
    for objective, colour in COLOURS.items():
        axes[0, 0].plot([], [], color=colour, label=objective)
    axes[0, 0].legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> int:
    """Run missing runs, evaluate all, write table, JSON and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/control"))
    parser.add_argument("--runs", type=Path, default=Path("results/control/runs"), help="raw rows of every run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    arguments = parser.parse_args()

    keys = list(itertools.product(OBJECTIVES, TARGETS, STARTS, range(arguments.seeds)))
    labels = {"-".join(map(str, key)): key for key in keys}
    runs = {label: overrides(*key, steps=arguments.steps) for label, key in labels.items()}
    records = run_all(runs, arguments.runs, arguments.processes)

    rows, failed = [], 0
    print("objective           targets  start  seed     H error   KL error   KL swing      tau     beta   verdict")
    for label, key in labels.items():
        objective, targets, start, seed = key
        found = errors(records[label]["rows"])
        passed = abs(found["entropy_error"]) <= ENTROPY_BAR and abs(found["kl_error"]) <= OBJECTIVES[objective]
        failed += not passed
        rows.append({"objective": objective, "targets": targets, "start": start, "seed": seed, **found, "ok": passed})
        print(
            f"{objective:19s} {targets:8s} {start:5s} {seed:5d} {found['entropy_error']:+10.1%} "
            f"{found['kl_error']:+10.1%} {found['kl_swing']:10.1%} {found['tau']:8.3f} {found['beta']:8.4f}   "
            f"{'ok' if passed else 'FALLS SHORT'}"
        )
    print(f"{len(rows) - failed} of {len(rows)} runs hold both targets")
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "summary.json").write_text(json.dumps({"schema": 1, "runs": rows}, indent=1))
    plot({key: records[label] for label, key in labels.items()}, arguments.output / "trajectories.png")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
