"""Control on training runs: starts, changes of target, steady errors; all objectives, five seeds.

    python experiments/control.py --output experiments/results/control

Runs start from coefficients that are right, ten times too low and ten times too high, or from right ones with a KL*
that is doubled or halved halfway, between the target and half of it: a policy of this size does not reach twice the
target however low β is. Objectives are analytic, truncated backprop (paired) and its decoupled form. The page says
what is measured.

Runs without a KL penalty say how soon KL could be there at all: β stands at its lower bound. Finished runs are kept,
and an interrupted experiment is resumed. Writes ``README.md``, with the words of ``notes.md``, ``summary.json`` and
``trajectories.png``.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from control_figure import draw_trajectories
from control_measures import BARS, digest, medians, meets, rows_of, soonest, table
from side_by_side import command_of_page, missing_of, read_notes, run_all

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
HALF_TARGET = "half"
"""The first half of a run whose KL* is doubled: a start at half the target."""
NAMES = {
    "right": "τ, β as settled",
    "too low": "τ, β ÷ 10",
    "too high": "τ, β × 10",
    HALF_TARGET: "half of KL\\*",
    "doubled": "KL\\* doubled",
    "halved": "KL\\* halved",
}
"""Starts, in the order of the page, as it names them."""
MEANINGS = """- *overshoot*: the largest 5-step mean of KL/KL\\* beyond 1 within 60 steps of the first that got there,
  in the direction of the way; *21-step*: the same of a 21-step mean; *at rest*: how far noise alone takes a 5-step mean
  above the mean, in the last 60 steps;
- *settled*: the first step from which the 21-step mean is within 10 % for 10 steps;
- *H* and *KL error*: of the means over the second half of the run, or of the steps after the change;
- *β swings*: e to the standard deviation of ln β, over the same steps; *largest step*: the largest factor of β in a
  step, of all seeds."""
HELD_OUT = 8
"""Prompts of the evaluations before and after a run, which say nothing here."""
FREE = ["controller.objective=null", "controller.beta=1e-4"]
"""Settings of a run without a KL penalty."""


def overrides(arguments: argparse.Namespace, objective: str | None, start: str, seed: int) -> list[str]:
    """Settings of a run's first phase that differ from the defaults; without an objective nothing is controlled."""
    factor, target_kl = STARTS.get(start, 1.0), arguments.target_kl * CHANGES.get(start, (1.0,))[0]
    return [
        f"train.steps={arguments.steps // 2 if start in CHANGES else arguments.steps}",
        f"train.seed={seed}",
        f"task.name={arguments.task}",
        f"evaluation.prompts={HELD_OUT}",
        f"controller.tau={arguments.tau * factor:g}",
        f"controller.beta={arguments.beta * factor:g}",
        f"controller.target_entropy_fraction={arguments.target_entropy_fraction:g}",
        f"controller.target_kl={target_kl:g}",
        *(FREE if objective is None else OBJECTIVES[objective]),
        *arguments.set,
    ]


def changes(arguments: argparse.Namespace, start: str) -> list[list[str]]:
    """Settings of the second phase of a run; none where it has one phase."""
    if start not in CHANGES:
        return []
    steps, target_kl = arguments.steps - arguments.steps // 2, arguments.target_kl * CHANGES[start][1]
    return [[f"train.steps={steps}", f"controller.target_kl={target_kl:g}"]]


def summarise(arguments: argparse.Namespace, records: Mapping[tuple[str, str], list[Any]]) -> list[dict[str, Any]]:
    """Medians over seeds of every objective and start, and of the changes of target."""
    half, rows = arguments.steps // 2, []
    for objective, start in itertools.product(arguments.objectives, NAMES):
        found = records.get((objective, "doubled" if start == HALF_TARGET else start), [])
        if not found:
            continue
        steps = {HALF_TARGET: slice(0, half), **dict.fromkeys(CHANGES, slice(half, None))}.get(start, slice(None))
        phases = [rows_of(record)[steps] for record in found]
        row = {"objective": objective, "start": start, "seeds": len(found), **medians(phases, start == "halved")}
        rows.append({**row, "meets": meets(row)})
    return rows


def page(arguments: argparse.Namespace, rows: list[dict[str, Any]], possible: float | None, notes: str) -> str:
    """The page of results."""
    free = "" if possible is None else f" Without a penalty KL is at 90 % of its target after {possible:.0f} steps."
    fewest, most = (choose(row["seeds"] for row in rows) for choose in (min, max))
    seeds = f"{most} seed{'s' * (most > 1)}" if fewest == most else f"{fewest} to {most} seeds"
    return "\n\n".join(
        (
            "# Do the loops start, move and end well?",
            f"    {command_of_page()}",
            f"`{arguments.task}`, embedded policy, G = 8, 24 prompts a step, {arguments.steps} steps, "
            f"{seeds}; H\\* = {arguments.target_entropy_fraction:g} log G, KL\\* = "
            f"{arguments.target_kl:g}. Truncated backprop has K = 2. Medians over seeds; \\* misses its bar: an "
            "overshoot of 10 % (25 % from τ, β ÷ 10), settled after 20 steps, H within 1 %, KL within 5 %, β by a "
            f"factor of 3 in a step.{free}",
            table(rows, NAMES),
            MEANINGS,
            "![KL, H, β and τ from each start](trajectories.png)",
            *([notes] if notes else []),
        )
    )


def main() -> None:
    """Run missing runs, measure all; print the table, write page, JSON and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/control"))
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--target-entropy-fraction", type=float, default=0.8, help="H* as a fraction of log G")
    parser.add_argument("--target-kl", type=float, default=0.2, help="KL*, nats per token")
    parser.add_argument("--tau", type=float, default=0.12, help="τ of the right start")
    parser.add_argument("--beta", type=float, default=0.04, help="β of the right start")
    parser.add_argument("--objectives", nargs="+", choices=list(OBJECTIVES), default=list(OBJECTIVES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="10 to 12 chose the settings")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of all runs")
    parser.add_argument("--report-only", action="store_true", help="make no run; report those that there are")
    arguments = parser.parse_args()

    runs, then, keys = {}, {}, {}
    for seed in arguments.seeds:  # all runs of one seed before the next: an interrupted experiment has all starts
        runs[f"no_penalty-{seed}"] = overrides(arguments, None, "right", seed)
        for objective, start in itertools.product(arguments.objectives, [*STARTS, *CHANGES]):
            label = f"{objective}-{start.replace(' ', '_')}-{seed}"
            keys[label] = (objective, start)
            runs[label], then[label] = overrides(arguments, objective, start, seed), changes(arguments, start)
    folder = arguments.output / "runs"
    if not arguments.report_only:
        run_all(runs, folder, arguments.processes, then, keep=digest)
    missing = missing_of(runs, folder, then)
    report(arguments, {label: keys.get(label) for label in runs if label not in missing}, folder)
    if missing:
        print(f"{len(missing)} runs are missing: {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}")


def report(arguments: argparse.Namespace, done: Mapping[str, tuple[str, str] | None], folder: Path) -> None:
    """Write page, JSON and figure of the finished runs, and print the table."""
    free: list[list[float]] = []
    records: dict[tuple[str, str], list[Any]] = {}
    for label, key in sorted(done.items(), key=lambda item: _place(item[1])):
        record = json.loads((folder / f"{label}.json").read_text())
        if key is None:
            free.append(record["columns"]["kl"])
        else:
            records.setdefault(key, []).append(record)
    if not records:
        print(f"no run is finished yet in {folder}")
        return
    possible = median(soonest(kls, arguments.target_kl) for kls in free) if free else None
    rows = summarise(arguments, records)
    print(table(rows, NAMES))
    text = page(arguments, rows, possible, read_notes(arguments.output))
    (arguments.output / "README.md").write_text(text + "\n", encoding="utf-8")
    path = arguments.output / "trajectories.png"
    result = {"schema": 1, "bars": BARS, "steps_without_penalty": possible, "medians": rows}
    (arguments.output / "summary.json").write_text(json.dumps(result, indent=1) + "\n")
    draw_trajectories(records, NAMES, {start: arguments.steps // 2 for start in CHANGES}, path)


def _place(key: tuple[str, str] | None) -> tuple[int, int]:
    return (-1, -1) if key is None else (list(OBJECTIVES).index(key[0]), [*STARTS, *CHANGES].index(key[1]))


if __name__ == "__main__":
    main()
