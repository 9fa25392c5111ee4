"""Grids on the default task: over the targets, for both places of the reference; and over fixed coefficients.

    python experiments/grid.py targets --output experiments/results/grid_targets
    python experiments/grid.py fixed --output experiments/results/grid_fixed

``targets``: which pairs of H* and KL* can be held (|H − H*| ≤ 3 % and |KL − KL*| ≤ 15 % over the last 50 steps), with
the reference in the weights and the loss or in the loss alone, and what they bring. ``fixed``: the best constant τ and
β that a user could find. Both choose by training figures and by seeds that no report uses. Prints a table, and writes
``summary.json`` and ``grid.png``; an interrupted grid is resumed.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from side_by_side import run_all
from tournament_arms import digest

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.report.plots import style

CHOOSING_SEED = 10
FRACTIONS, KLS = (0.6, 0.7, 0.8, 0.9), (0.03, 0.1, 0.2, 0.4)
TAUS, BETAS = (0.01, 0.03, 0.1, 0.3), (0.03, 0.1, 0.3)
COLOURS = {"weights_and_loss": "#0072B2", "loss": "#D55E00", "fixed": "#666666"}
ENTROPY_BAR, KL_BAR = 0.03, 0.15
TRAINING = ("reward", "pass_rate", "coverage")


def targets_grid() -> dict[str, list[str]]:
    """Label → settings, for every reference and pair of targets."""
    return {
        f"{reference}-{fraction}-{kl}": [
            f"weighting.reference={reference}",
            f"controller.target_entropy_fraction={fraction}",
            f"controller.target_kl={kl}",
        ]
        for reference, fraction, kl in itertools.product(("weights_and_loss", "loss"), FRACTIONS, KLS)
    }


def fixed_grid() -> dict[str, list[str]]:
    """Label → settings, for every pair of coefficients."""
    return {
        f"fixed-{tau}-{beta}": ["controller.objective=null", f"controller.tau={tau}", f"controller.beta={beta}"]
        for tau, beta in itertools.product(TAUS, BETAS)
    }


GRIDS = {"targets": targets_grid, "fixed": fixed_grid}


def figures(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over seeds: errors of H and KL, coefficients, training figures and held-out metrics."""
    last = {key: fmean(record["last"][key] for record in records) for key in records[0]["last"]}
    targets = (records[0]["target_entropy"], records[0]["target_kl"])
    errors = [
        None if target is None else last[key] / target - 1
        for key, target in zip(("entropy", "kl"), targets, strict=True)
    ]
    return {
        "entropy_error": errors[0],
        "kl_error": errors[1],
        "held": None not in errors and abs(errors[0]) <= ENTROPY_BAR and abs(errors[1]) <= KL_BAR,
        **{key: last[key] for key in ("tau", "beta", "tied_share", *TRAINING)},
        "held_out": {metric: fmean(fmean(record["held_out"][metric]) for record in records) for metric in METRICS},
    }


def draw(found: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Mean reward against pass rate and coverage on training prompts; hollow: targets that are not held."""
    figure = style.figure(
        "What each point of the grid brings, on training prompts",
        "A dot for each point: mean over the last 50 steps; up and to the right is better. Lines: the Pareto front of "
        "each colour.\nHollow: a target that is not held.",
        width=14,
        height=7,
    )
    for axes, metric in zip(figure.subplots(1, 2), TRAINING[1:], strict=True):
        style.style(axes)
        axes.set_xlabel("reward")
        style.label_y(axes, metric.replace("_", " "))
        for kind, colour in COLOURS.items():
            points = [
                (each["reward"], each[metric], each) for label, each in found.items() if label.startswith(f"{kind}-")
            ]
            for x, y, each in points:
                filled = each["held"] or kind == "fixed"
                axes.plot(x, y, "o", color=colour, markerfacecolor=colour if filled else "white", markersize=7)
            front = sorted(p[:2] for p in points if not any(q[0] > p[0] and q[1] > p[1] for q in points))
            if front:
                axes.plot(*zip(*front, strict=True), color=colour, linewidth=1.2, label=kind)
        axes.legend(frameon=False)
    style.save(figure, path)


def main() -> None:
    """Run missing points, write table, JSON and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", choices=GRIDS)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--seeds", type=int, default=1, help=f"seeds {CHOOSING_SEED}, {CHOOSING_SEED + 1}, …")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    arguments = parser.parse_args()
    output = arguments.output or Path("results") / f"grid_{arguments.grid}"
    points = GRIDS[arguments.grid]()
    seeds = range(CHOOSING_SEED, CHOOSING_SEED + arguments.seeds)
    common = [f"task.name={arguments.task}", f"train.steps={arguments.steps}", "evaluation.prompts=256"]
    runs = {
        f"{label}-{s}": [*common, f"train.seed={s}", *settings] for s in seeds for label, settings in points.items()
    }
    records = run_all(runs, arguments.runs or output / "runs", arguments.processes, keep=digest)
    found = {label: figures([records[f"{label}-{seed}"] for seed in seeds]) for label in points}

    print("| point | H error | KL error | held | τ | β | tied | reward | pass | coverage |\n" + "|---" * 10 + "|")
    for label, each in found.items():
        errors = " | ".join("" if each[key] is None else f"{each[key]:+.0%}" for key in ("entropy_error", "kl_error"))
        values = " | ".join(f"{each[key]:.3g}" for key in ("tau", "beta", "tied_share", *TRAINING))
        print(f"| {label} | {errors} | {'yes' if each['held'] else 'no'} | {values} |")
    output.mkdir(parents=True, exist_ok=True)
    (output / "summary.json").write_text(json.dumps({"schema": 1, "seeds": list(seeds), "points": found}, indent=1))
    draw(found, output / "grid.png")


if __name__ == "__main__":
    main()
