"""Tables and figures of :mod:`rllib_control`, from its lines.

    python experiments/rllib_control_report.py --output experiments/results/rllib_control

Prints the tables in Markdown, and writes ``summary.json``, ``kl.png`` and ``errors.png``. Every figure is of the judged
iterations alone (:func:`rllib_control.judged`); a run with fewer than `FEWEST` has none, and is counted.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
from benchmarks.median_interval import median_interval
from rllib_control import ARMS, CHOOSING_SEEDS, TARGETS, judged, read_lines
from rllib_control_figures import draw_curves, draw_errors
from rllib_tasks import TASKS

from maxent_ray.evaluation.bootstrap import bootstrap_interval

FEWEST = 5
Line = Mapping[str, Any]


class Outcome(NamedTuple):
    """Figures of one run."""

    mean_error: float
    """Mean |KL − KL*|/KL*; nan where there are too few iterations, here and below."""
    median_error: float
    last_minibatch_error: float
    """Mean error of the last minibatch's KL, which RLlib's rule acts on."""
    bias: float
    """Mean KL/KL*."""
    spread: float
    """Mean |KL − mean KL|/mean KL: what would be left of the error if the mean were on target."""
    entropy_error: float
    """Mean |H − H*| (nats); nan without H*."""
    episode_return: float
    """Mean over the last quarter of all iterations."""
    judged: int


def outcome(line: Line) -> Outcome:
    """Figures of one run."""
    target = TARGETS[line["targets"]]
    kl, last = (judged(line, line[name]) for name in ("kl", "kl_last_minibatch"))
    quarter = [value for value in line["return"][-(len(line["return"]) // 4) :] if value is not None]
    entropy = [abs(value - TASKS[line["task"]].target_entropy) for value in judged(line, line["entropy"])]
    mean = fmean(kl) if kl else math.nan
    errors = (
        (
            fmean(errors_of(kl, target)),
            median(errors_of(kl, target)),
            fmean(errors_of(last, target)),
            mean / target,
            fmean(errors_of(kl, mean)),
            fmean(entropy) if "entropy" in line["targets"] else math.nan,
        )
        if len(kl) >= FEWEST
        else (math.nan,) * 6
    )
    return Outcome(*errors, fmean(quarter), len(kl))


def errors_of(values: Sequence[float], target: float) -> list[float]:
    """Relative distance of each value to the target."""
    return [abs(value / target - 1) for value in values]


Outcomes = Mapping[tuple[str, str, str], Mapping[int, Outcome]]
"""(task, targets, arm) → seed → figures."""


def outcomes_of(lines: Iterable[Line]) -> Outcomes:
    """Figures of all reported runs; the seeds that settings were chosen on are left out."""
    found: dict[tuple[str, str, str], dict[int, Outcome]] = {}
    for line in lines:
        if line["seed"] not in CHOOSING_SEEDS:
            found.setdefault((line["task"], line["targets"], line["arm"]), {})[line["seed"]] = outcome(line)
    return found


def paired(
    outcomes: Outcomes, arm: str, name: str, cell: tuple[str, str], base: str = "rllib"
) -> list[tuple[float, float]]:
    """One figure of an arm and of `base` on the seeds that have both."""
    ours, theirs = outcomes.get((*cell, arm), {}), outcomes.get((*cell, base), {})
    pairs = [(getattr(ours[seed], name), getattr(theirs[seed], name)) for seed in sorted(ours.keys() & theirs.keys())]
    return [pair for pair in pairs if all(map(math.isfinite, pair))]


def ratio(outcomes: Outcomes, arm: str, name: str, targets: Iterable[str] = tuple(TARGETS)) -> dict[str, float] | None:
    """Geometric mean over tasks, targets and seeds of an arm's figure relative to RLlib's rule, with its interval."""
    pairs = [pair for cell in cells(targets) for pair in paired(outcomes, arm, name, cell)]
    if not pairs:
        return None
    logs = [math.log(ours / theirs) for ours, theirs in pairs]
    low, high = bootstrap_interval(logs)
    return {"ratio": math.exp(fmean(logs)), "low": math.exp(low), "high": math.exp(high), "pairs": len(logs)}


def cells(targets: Iterable[str] = tuple(TARGETS)) -> list[tuple[str, str]]:
    """All (task, targets)."""
    return [(task, each) for each in targets for task in TASKS]


def table(outcomes: Outcomes, name: str, shown: Callable[[float], str], targets: Iterable[str] = tuple(TARGETS)) -> str:
    """Medians over seeds with bootstrap intervals: a row for each task and targets, a column for each arm."""
    rows = ["| task | targets | " + " | ".join(ARMS) + " |", "|---" * (len(ARMS) + 2) + "|"]
    for task, each in cells(targets):
        values = [
            _cell([getattr(o, name) for o in outcomes.get((task, each, arm), {}).values()], shown) for arm in ARMS
        ]
        rows.append(f"| {task} | {each} | " + " | ".join(values) + " |")
    return "\n".join(rows)


def _cell(values: Sequence[float], shown: Callable[[float], str]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "–"
    if len(finite) == 1:
        return shown(finite[0])
    low, high = median_interval(finite)
    fewer = "" if len(finite) == len(values) else f" ({len(finite)} runs)"
    return f"{shown(median(finite))} [{shown(low)}, {shown(high)}]{fewer}"


def overview(outcomes: Outcomes) -> str:
    """All arms relative to RLlib's rule, paired by task, targets and seed."""
    names = ("mean_error", "median_error", "last_minibatch_error", "entropy_error")
    rows = ["| arm | " + " | ".join(names) + " | return above |", "|---" * (len(names) + 2) + "|"]
    for arm in ARMS:
        ratios = [ratio(outcomes, arm, name) for name in names]
        values = [f"{r['ratio']:.2f} [{r['low']:.2f}, {r['high']:.2f}]" if r else "–" for r in ratios]
        rows.append(f"| {arm} | " + " | ".join([*values, _share(return_above(outcomes, arm))]) + " |")
    return "\n".join(rows)


def return_above(outcomes: Outcomes, arm: str) -> list[float]:
    """Pair of runs → 1 where the arm's return is above that of RLlib's rule, .5 where it is the same, 0 below."""
    pairs = [pair for cell in cells() for pair in paired(outcomes, arm, "episode_return", cell)]
    return [0.5 if ours == theirs else float(ours > theirs) for ours, theirs in pairs]


def _share(values: Sequence[float]) -> str:
    if not values:
        return "–"
    low, high = bootstrap_interval(values)
    return f"{fmean(values):.0%} [{low:.0%}, {high:.0%}] of {len(values)}"


def by_task(outcomes: Outcomes) -> str:
    """Medians over all runs on a task: errors, and what they consist of.

    *Spread* is that of KL at constant coefficients, which no rule can take away; *offset* is |mean KL/KL* − 1|.
    """
    rows = ["| task | half of RLlib's error | spread | " + " | ".join(f"offset, {arm}" for arm in ARMS) + " |"]
    rows.append("|---" * (len(ARMS) + 3) + "|")
    for task in TASKS:
        half = [value / 2 for value in _all_of(outcomes, task, "rllib", "mean_error")]
        offsets = [[abs(value - 1) for value in _all_of(outcomes, task, arm, "bias")] for arm in ARMS]
        columns = (half, _all_of(outcomes, task, "fixed", "spread"), *offsets)
        rows.append(f"| {task} | " + " | ".join(f"{median(each):.2f}" if each else "–" for each in columns) + " |")
    return "\n".join(rows)


def returns_by_task(outcomes: Outcomes) -> str:
    """Mean difference of the return to RLlib's rule, paired by targets and seed, with its interval."""
    rows = ["| task | spread under RLlib's rule | " + " | ".join(ARMS) + " |", "|---" * (len(ARMS) + 2) + "|"]
    for task in TASKS:
        returns = _all_of(outcomes, task, "rllib", "episode_return")
        spread = np.std(returns, ddof=1) if len(returns) > 1 else math.nan
        pairs = [
            [pair for each in TARGETS for pair in paired(outcomes, arm, "episode_return", (task, each))] for arm in ARMS
        ]
        shown = [_difference([ours - theirs for ours, theirs in each]) for each in pairs]
        rows.append(f"| {task} | {spread:.3g} | " + " | ".join(shown) + " |")
    return "\n".join(rows)


def _difference(values: Sequence[float]) -> str:
    if not values:
        return "–"
    low, high = bootstrap_interval(values)
    return f"{fmean(values):.3g} [{low:.3g}, {high:.3g}]"


def _all_of(outcomes: Outcomes, task: str, arm: str, name: str) -> list[float]:
    """One figure of an arm's runs on a task, over all targets."""
    found = [getattr(o, name) for each in TARGETS for o in outcomes.get((task, each, arm), {}).values()]
    return [value for value in found if math.isfinite(value)]


def summary(outcomes: Outcomes) -> dict[str, Any]:
    """All figures, ready for JSON; None where there is none."""
    runs = [
        {"task": task, "targets": targets, "arm": arm, "seed": seed, **_plain(figures)}
        for (task, targets, arm), by_seed in sorted(outcomes.items())
        for seed, figures in sorted(by_seed.items())
    ]
    names = ("mean_error", "median_error", "last_minibatch_error", "entropy_error", "spread")
    relative = {arm: {name: ratio(outcomes, arm, name) for name in names} for arm in ARMS}
    return {"schema": 1, "relative_to_rllib": relative, "runs": runs}


def _plain(figures: Outcome) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures._asdict().items()}


def main() -> None:
    """Print the tables, write JSON and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("results/rllib_control/runs.jsonl"))
    parser.add_argument("--output", type=Path, default=Path("results/rllib_control"))
    arguments = parser.parse_args()
    lines = read_lines(arguments.runs)
    outcomes = outcomes_of(lines)
    print(f"{overview(outcomes)}\n\n{by_task(outcomes)}\n\n{returns_by_task(outcomes)}")
    for name in ("mean_error", "median_error", "bias", "spread", "last_minibatch_error", "episode_return"):
        print(f"\n{name}\n\n{table(outcomes, name, lambda value: f'{value:.3g}')}")
    entropy = [each for each in TARGETS if "entropy" in each]
    print(f"\nentropy_error\n\n{table(outcomes, 'entropy_error', lambda value: f'{value:.2f}', entropy)}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "summary.json").write_text(json.dumps(summary(outcomes), indent=1) + "\n")
    draw_curves([line for line in lines if line["seed"] not in CHOOSING_SEEDS], arguments.output / "kl.png")
    draw_errors(outcomes, arguments.output / "errors.png")


if __name__ == "__main__":
    main()
