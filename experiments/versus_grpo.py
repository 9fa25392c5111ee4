"""Maximum-entropy GRPO with the controller against plain GRPO with β = 0, at the same budget.

    python experiments/versus_grpo.py --output experiments/results/versus_grpo

Same prompts, seeds and steps; targets 0.95 log G and 0.05; 128 held-out prompts × 8 samples. Passes when coverage@8
is higher by at least .08 and pass@8 is higher, each with a paired 95 % interval that excludes 0, at a mean@8 above the
warm start's. Differences are paired by prompt and seed; the interval resamples prompts, all seeds of one together.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from side_by_side import run_all

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.evaluation.bootstrap import seed_paired_interval

COVERAGE_BAR = 0.08
TASK = "task.name=countdown_small"
TARGETS = ["controller.target_entropy_fraction=0.95", "controller.target_kl=0.05"]
METHODS = {
    "analytic": [*TARGETS, "controller.objective.type=analytic"],
    "truncated_backprop": [
        *TARGETS,
        "controller.objective.type=truncated_backprop",
        "controller.objective.unroll.steps=2",
    ],
    "grpo": [
        "weighting.type=grpo",
        "controller.objective=null",
        "controller.beta=0",
    ],
}

OBJECTIVES = ("analytic", "truncated_backprop")


def compare(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float | bool]]:
    """Difference of every metric, with its paired interval."""
    result: dict[str, dict[str, float | bool]] = {}
    for metric in METRICS:
        a = [run["held_out"]["per_prompt"][metric] for run in ours]
        b = [run["held_out"]["per_prompt"][metric] for run in theirs]
        interval = seed_paired_interval(a, b)
        result[metric] = {
            "difference": fmean(map(fmean, a)) - fmean(map(fmean, b)),
            "low": interval.low,
            "high": interval.high,
            "excludes_zero": interval.low > 0 or interval.high < 0,
        }
    return result


def main() -> int:
    """Run missing runs, compare, write table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/versus_grpo"))
    parser.add_argument("--runs", type=Path, default=Path("results/versus_grpo/runs"), help="raw rows of every run")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=OBJECTIVES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    arguments = parser.parse_args()

    methods = [*arguments.objectives, "grpo"]
    runs = {
        f"{method}-{seed}": [TASK, f"train.steps={arguments.steps}", f"train.seed={seed}", *METHODS[method]]
        for seed in range(arguments.seeds)
        for method in methods
    }
    records = run_all(runs, arguments.runs, arguments.processes)
    by_method = {m: [records[f"{m}-{seed}"] for seed in range(arguments.seeds)] for m in methods}

    warm_start = by_method["grpo"][0]["warm_start"]
    table = {"warm start": {metric: warm_start[metric] for metric in METRICS}}
    for method, found in by_method.items():
        table[method] = {metric: fmean(run["held_out"][metric] for run in found) for metric in METRICS}
    print(f"{'':20s} {'mean@8':>8s} {'pass@8':>8s} {'distinct@8':>11s} {'coverage@8':>11s}")
    for name, row in table.items():
        print(f"{name:20s} {row['mean']:8.3f} {row['pass_rate']:8.3f} {row['distinct']:11.3f} {row['coverage']:11.3f}")

    verdicts, summary = {}, {}
    for method in arguments.objectives:
        found = compare(by_method[method], by_method["grpo"])
        summary[method] = found
        print(f"\n{method} − plain GRPO (β = 0), paired 95 % intervals over {warm_start['prompts']} prompts:")
        for metric, difference in found.items():
            interval = f"[{difference['low']:+.3f}, {difference['high']:+.3f}]"
            print(f"  {metric:10s} {difference['difference']:+.3f} {interval}")
        verdicts[method] = {
            "coverage": found["coverage"]["difference"] >= COVERAGE_BAR and found["coverage"]["low"] > 0,
            "pass": found["pass_rate"]["low"] > 0,
            "mean_above_warm_start": table[method]["mean"] > table["warm start"]["mean"],
        }
        print("  " + ", ".join(f"{name}: {'yes' if holds else 'NO'}" for name, holds in verdicts[method].items()))
    arguments.output.mkdir(parents=True, exist_ok=True)
    record = {"schema": 1, "table": table, "differences": summary, "verdicts": verdicts}
    (arguments.output / "summary.json").write_text(json.dumps(record, indent=1))
    return 0 if all(holds for verdict in verdicts.values() for holds in verdict.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
