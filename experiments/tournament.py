"""The tournament: our controllers and their parts, fixed coefficients, GRPO, rules of thumb, other methods.

    python experiments/tournament.py --output experiments/results/tournament

Makes the runs that are missing (each arm of ``configs/tournament`` with each seed) and ``warm_start.json``, the same
measured before training; then writes ``README.md``, ``summary.json`` and ``pareto.png``. An interrupted tournament is
resumed by the same command; ``--named``, ``--seeds`` and ``--steps`` make another one, such as a longer one of two
arms.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from side_by_side import command_of_page, missing_of, read_notes, run_all
from tournament_arms import ARMS, Arm, digest, read_arms
from tournament_figures import draw_pareto
from tournament_report import FAMILIES, Result, page, verdicts
from tournament_warm_start import warm_start

from maxent_ray.core.answer_metrics import METRICS

PROMPTS = 512
"""Held-out prompts: all that the task has."""


def overrides(arm: Arm, seed: int, steps: int, task: str) -> list[str]:
    """Settings of a run that differ from the defaults; but for the seed the first ones are those of every arm."""
    return [
        f"task.name={task}",
        f"train.steps={steps}",
        f"train.seed={seed}",
        f"task.held_out_prompts={PROMPTS}",
        f"evaluation.prompts={PROMPTS}",
        *arm.settings,
    ]


def main() -> None:
    """Make missing runs, and the report of all that there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/tournament"))
    parser.add_argument("--arms", type=Path, default=ARMS, help="folder of <family>/<arm>.yaml")
    parser.add_argument("--named", nargs="+", metavar="ARM", help="these arms only")
    parser.add_argument("--task", default="countdown")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 … n − 1")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    arguments = parser.parse_args()

    there = sorted(read_arms(arguments.arms), key=lambda arm: (_place(arm.family), arm.name))
    named = arguments.named or [arm.name for arm in there]
    unknown = sorted(set(named) - {arm.name for arm in there})
    if unknown:
        parser.error(f"--named has {', '.join(unknown)}; there are {', '.join(arm.name for arm in there)}")
    arms = [arm for arm in there if arm.name in named]
    # All arms of one seed before the next seed: an interrupted tournament has something of everything.
    labels = {f"{arm.name}-{seed}": (arm, seed) for seed in range(arguments.seeds) for arm in arms}
    wanted = {label: overrides(arm, seed, arguments.steps, arguments.task) for label, (arm, seed) in labels.items()}
    folder = arguments.output / "runs"
    if not arguments.report_only:
        run_all(wanted, folder, arguments.processes, keep=digest)
    missing = missing_of(wanted, folder)
    done = {label: labels[label] for label in wanted if label not in missing}
    if not done:
        print(f"no run is finished yet in {folder}")
        return
    seeds = sorted({seed for _, seed in done.values()})
    before = warm_start(arguments.output / "warm_start.json", arguments.task, PROMPTS, seeds)
    setting = f"`{arguments.task}`, {arguments.steps} steps, embedded policy, default optimiser"
    report(arms, done, before, missing, arguments.output, setting)


def _place(family: str) -> int:
    known = list(FAMILIES)
    return known.index(family) if family in known else len(known)


def report(
    arms: Sequence[Arm],
    done: dict[str, tuple[Arm, int]],
    before: Result,
    missing: Sequence[str],
    output: Path,
    setting: str,
) -> None:
    """Write page, figures and JSON of the finished runs, and print the claims."""
    found: dict[str, dict[int, dict[str, object]]] = {}
    for label, (arm, seed) in done.items():
        found.setdefault(arm.name, {})[seed] = json.loads((output / "runs" / f"{label}.json").read_text())
    results = {arm.name: Result(arm, found[arm.name]) for arm in arms if arm.name in found}
    text = page(results, before, command_of_page(), missing, read_notes(output), setting)
    (output / "README.md").write_text(text + "\n", encoding="utf-8")
    summary = {
        name: {
            "seeds": sorted(result.runs),
            **{metric: [result.value(metric), *result.interval(metric)] for metric in METRICS},
        }
        for name, result in {**results, before.arm.name: before}.items()
    }
    (output / "summary.json").write_text(json.dumps({"schema": 1, "arms": summary}, indent=1))
    draw_pareto(results, before, output / "pareto.png")
    print("\n".join(line.replace("**", "") for line in verdicts(results, before)))
    print(f"{len(done)} runs, {len(missing)} missing; the page is {output / 'README.md'}")


if __name__ == "__main__":
    main()
