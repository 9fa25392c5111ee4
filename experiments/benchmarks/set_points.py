"""Starts and changes of target on training runs: overshoot of KL, time to settle, steady errors, largest step of β.

    python experiments/benchmarks/set_points.py --output experiments/results/set_points

Runs start from coefficients that are right, ten times too low and ten times too high, or from right ones with a KL*
that is doubled or halved halfway, between the target and half of it: a policy of this size does not reach twice the
target however low β is. Objectives are analytic, truncated backprop (paired) and its decoupled form. Measures
of KL/KL*, as medians over seeds:

- overshoot: largest 5-step mean beyond the target within 60 steps of the start or the change, in the direction of the
  way; noise alone reaches the one "at rest": the largest 5-step mean over the mean of the last 60 steps;
- settled: first step from which the 21-step mean is within 10 % for 10 steps;
- steady errors: means of H and KL over the second half of the run, or of the steps after the change;
- step: largest factor of β in one step.

Runs without a KL penalty say how soon KL could be there at all: β stands at its lower bound.

Finished runs are kept, and an interrupted benchmark can be resumed. Prints a table and writes ``summary.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from side_by_side import run_all

STARTS = {"right": 1.0, "too low": 0.1, "too high": 10.0}
"""Factor of the settled τ and β that a run starts with."""
CHANGES = {"doubled": (0.5, 1.0), "halved": (1.0, 0.5)}
"""Factors of KL* in the first and in the second half of a run."""
OBJECTIVES: dict[str, list[str]] = {
    "analytic": ["controller.objective.type=analytic"],
    "truncated_backprop": ["controller.objective.type=truncated_backprop", "controller.objective.unroll.steps=2"],
    "decoupled": [
        "controller.objective.type=truncated_backprop",
        "controller.objective.unroll.steps=2",
        "controller.objective.form.type=decoupled",
    ],
}
FREE = ["controller.objective=null", "controller.beta=1e-4"]
"""Settings of a run without a KL penalty."""
WATCHED, RESTING = 60, 60
"""Steps in which an overshoot counts, and of the noise at rest."""
BARS = {"overshoot": 0.10, "overshoot, too low": 0.25, "settled": 20, "H": 0.01, "KL": 0.05, "step": 3.0}


class Response(NamedTuple):
    """Measures of one start or change."""

    overshoot: float
    settled: int
    """Step; the number of steps for never."""
    entropy_error: float
    kl_error: float
    largest_step: float
    """Factor ≥ 1."""


def centred_means(values: Sequence[float], width: int) -> list[float]:
    """Means over windows around each value, cut at the ends."""
    half = width // 2
    return [fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def measure(rows: Sequence[Mapping[str, Any]], falls: bool = False) -> Response:
    """Measure one phase of a run.

    Args:
        rows: Rows of the phase, all with one target.
        falls: The way goes down, so that an overshoot is below the target.

    Example:
        >>> row = {"kl": 0.06, "target_kl": 0.05, "entropy": 1.9, "target_entropy": 1.9, "beta": 0.1}
        >>> found = measure([{**row, "beta": 0.1 * 2**i} for i in range(3)] + [row] * 60)
        >>> round(found.overshoot, 3), found.settled, round(found.largest_step, 3)
        (0.2, 63, 4.0)
    """
    ratios = [row["kl"] / row["target_kl"] for row in rows]
    slow, sign = centred_means(ratios, 21), -1.0 if falls else 1.0
    within = [abs(ratio - 1) < 0.1 for ratio in slow]
    steps = [abs(math.log(b["beta"] / a["beta"])) for a, b in itertools.pairwise(rows)]
    later = len(rows) // 2
    return Response(
        overshoot=max(sign * (ratio - 1) for ratio in centred_means(ratios, 5)[:WATCHED]),
        settled=next((i for i in range(len(rows) - 9) if all(within[i : i + 10])), len(rows)),
        entropy_error=fmean(row["entropy"] / row["target_entropy"] for row in rows[later:]) - 1,
        kl_error=fmean(ratios[later:]) - 1,
        largest_step=math.exp(max(steps)),
    )


def noise_at_rest(rows: Sequence[Mapping[str, Any]]) -> float:
    """Largest 5-step mean of KL over its own mean, of the last steps of a phase."""
    values = [row["kl"] for row in rows[-RESTING:]]
    return max(centred_means(values, 5)) / fmean(values) - 1


def soonest(kls: Sequence[float], target: float) -> int:
    """First step whose 21-step mean of KL is 90 % of the target or more; the number of steps for never."""
    return next((i for i, kl in enumerate(centred_means(kls, 21)) if kl >= 0.9 * target), len(kls))


def overrides(arguments: argparse.Namespace, objective: str, start: str, seed: int, steps: int) -> list[str]:
    """Settings of a run that differ from the defaults; without an objective, of one without a penalty."""
    factor, target_kl = STARTS.get(start, 1.0), arguments.target_kl * CHANGES.get(start, (1.0,))[0]
    return [
        f"train.steps={steps}",
        f"train.seed={seed}",
        f"task.name={arguments.task}",
        f"evaluation.prompts={arguments.held_out}",
        f"controller.tau={arguments.tau * factor:g}",
        f"controller.beta={arguments.beta * factor:g}",
        f"controller.target_entropy_fraction={arguments.target_entropy_fraction:g}",
        f"controller.target_kl={target_kl:g}",
        *(OBJECTIVES[objective] if objective else FREE),
        *arguments.set,
    ]


def summarise(arguments: argparse.Namespace, records: Mapping[tuple[str, str, int], Any]) -> list[dict[str, Any]]:
    """Medians over seeds of every objective and start, and of the changes of target."""
    table, half = [], arguments.steps // 2
    for objective, start in itertools.product(arguments.objectives, [*STARTS, *CHANGES]):
        runs = [records[objective, start, seed]["rows"] for seed in arguments.seeds]
        phases = [rows[half:] if start in CHANGES else rows for rows in runs]
        found = [measure(phase, falls=start == "halved") for phase in phases]
        medians = {name: median(getattr(each, name) for each in found) for name in ("overshoot", "settled")}
        errors = {name: median(abs(getattr(each, name)) for each in found) for name in ("entropy_error", "kl_error")}
        largest = max(each.largest_step for each in found)
        at_rest = median(noise_at_rest(phase) for phase in phases)
        table.append(
            {"objective": objective, "start": start, **medians, "at_rest": at_rest, **errors, "largest_step": largest}
        )
    return table


def meets(row: Mapping[str, Any]) -> dict[str, bool]:
    """Bars that a row of the table meets."""
    bar = BARS["overshoot, too low"] if row["start"] == "too low" else BARS["overshoot"]
    return {
        "overshoot": row["overshoot"] <= bar,
        "settled": row["settled"] <= BARS["settled"],
        "H": row["entropy_error"] <= BARS["H"],
        "KL": row["kl_error"] <= BARS["KL"],
        "step": row["largest_step"] <= BARS["step"] * (1 + 1e-9),
    }


def print_table(table: Sequence[Mapping[str, Any]]) -> None:
    """Print medians, with a star at each that misses its bar."""
    print("| objective | start | overshoot (at rest) | settled | H error | KL error | largest step |")
    print("|---|---|---|---|---|---|---|")
    for row in table:
        star = {name: "" if met else " *" for name, met in meets(row).items()}
        print(
            f"| {row['objective']} | {row['start']} | "
            f"{row['overshoot']:+.2f}{star['overshoot']} ({row['at_rest']:.2f}) | "
            f"{row['settled']:.0f}{star['settled']} | {row['entropy_error']:.2%}{star['H']} | "
            f"{row['kl_error']:.1%}{star['KL']} | ×{row['largest_step']:.2f}{star['step']} |"
        )
    print("* misses its bar")


def main() -> None:
    """Run missing runs, measure all, print the table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/set_points"))
    parser.add_argument("--runs", type=Path, default=Path("results/set_points/runs"), help="raw rows of every run")
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--target-entropy-fraction", type=float, default=0.8, help="H* as a fraction of log G")
    parser.add_argument("--target-kl", type=float, default=0.2, help="KL*, nats per token")
    parser.add_argument("--tau", type=float, default=0.1, help="τ of the right start")
    parser.add_argument("--beta", type=float, default=0.05, help="β of the right start")
    parser.add_argument("--objectives", nargs="+", choices=list(OBJECTIVES), default=list(OBJECTIVES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="10 to 12 chose the settings")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--held-out", type=int, default=8, help="prompts of the evaluation, which is not used here")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of all runs")
    arguments = parser.parse_args()

    half = arguments.steps // 2
    runs, then, labels = {}, {}, {}
    # All runs of one seed before the next seed: an interrupted benchmark has something of everything.
    free = {f"no_penalty-{seed}": overrides(arguments, "", "right", seed, arguments.steps) for seed in arguments.seeds}
    for seed, objective, start in itertools.product(arguments.seeds, arguments.objectives, [*STARTS, *CHANGES]):
        label = f"{objective}-{start.replace(' ', '_')}-{seed}"
        labels[label] = (objective, start, seed)
        first = half if start in CHANGES else arguments.steps
        runs[label] = overrides(arguments, objective, start, seed, first)
        if start in CHANGES:
            later = f"controller.target_kl={arguments.target_kl * CHANGES[start][1]:g}"
            then[label] = [[f"train.steps={arguments.steps - half}", later]]
    found = run_all({**runs, **free}, arguments.runs, arguments.processes, then)
    table = summarise(arguments, {key: found[label] for label, key in labels.items()})
    print_table(table)
    unpenalised = [[row["kl"] for row in found[label]["rows"]] for label in free]
    possible = median(soonest(kls, arguments.target_kl) for kls in unpenalised)
    print(f"without a penalty KL is at 90 % of its target after {possible:.0f} steps")
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(arguments).items()}
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "summary.json"
    result = {"schema": 1, "settings": settings, "bars": BARS, "without_penalty": possible, "medians": table}
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
