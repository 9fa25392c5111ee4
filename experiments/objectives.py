"""Comparison of objectives: analytic against truncated backprop with K = 1, 2, 4, 8, on Countdown.

    python experiments/objectives.py --output experiments/results/objectives

Every seed runs twice: τ and β together ten times too high, or ten times too low; in mid-run KL* changes, then H*.
Truncated backprop runs in its ``decoupled`` form, and with K = 2 in its plain form ``paired`` too. For each part of a
run: steps until H and KL are settled, overshoot and steady-state error; for each run: held-out metrics and seconds.
Prints a table, writes ``summary.json`` and ``trajectories.png``.

*Settled*: the first step from which the running means of H and KL (over 21 steps of the part, centred; fewer at its
ends) stay within 10 % of their targets for ten steps; the part's length if there is none. A single step's KL varies
by 15–20 % with the draw of 24 prompts alone. H, with far less noise, is also evaluated by itself: within 2 %, over 7
steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
from side_by_side import run_all

from maxent_ray.report.plots.canvas import agg_figure

OBJECTIVE = "controller.objective"


def truncated(steps: int, form: str) -> list[str]:
    """Overrides for truncated backprop."""
    return [
        f"{OBJECTIVE}.type=truncated_backprop",
        f"{OBJECTIVE}.unroll.steps={steps}",
        f"{OBJECTIVE}.form.type={form}",
    ]


ARMS = {
    "analytic": [f"{OBJECTIVE}.type=analytic"],
    **{f"K={steps}": truncated(steps, "decoupled") for steps in (1, 2, 4, 8)},
    "K=2 paired": truncated(2, "paired"),
}
SETTLED_TAU, SETTLED_BETA = 0.55, 0.13
"""Steady-state τ and β at H* = 0.95 log G and KL* = 0.05."""
BAND, WINDOW, HOLD = 0.1, 21, 10
ENTROPY_BAND, ENTROPY_WINDOW = 0.02, 7
PARTS = ("bad start", "KL* changes", "H* changes")
COLOURS = {
    "analytic": "#0072B2",
    "K=1": "#E69F00",
    "K=2": "#D55E00",
    "K=4": "#CC79A7",
    "K=8": "#882255",
    "K=2 paired": "#999999",
}


class Scenario(NamedTuple):
    """Start of τ and β, and the changes of the targets, in one run."""

    factor: float
    """τ₀ and β₀ relative to their final values."""
    kl_then: float
    """KL* after the first change, nats per token (before: 0.05)."""
    entropy_then: float
    """H* after the second change, as a fraction of log G (before: 0.95)."""


SCENARIOS = {"high": Scenario(10.0, 0.08, 0.90), "low": Scenario(0.1, 0.035, 0.97)}


class Part(NamedTuple):
    """Results of one part of a run, with one pair of targets."""

    settled: int
    """Steps until both are settled; the part's length if never."""
    settled_entropy: int
    """Steps until H alone is within 2 %."""
    overshoot_kl: float
    """Overshoot of KL's running mean (11 steps) past KL*, relative. Where KL* did not
    change: how far it went to either side."""
    error_entropy: float
    error_kl: float
    """Relative errors of the means over the last third of the steps."""


def running_mean(values: Sequence[float], window: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Running mean, centred; over fewer values at the ends."""
    series, half = np.asarray(values, dtype=float), window // 2
    return np.array([series[max(0, i - half) : i + half + 1].mean() for i in range(len(series))])


def settling_step(within: Sequence[bool]) -> int:
    """First step from which ``within`` holds for ``HOLD`` steps; its length if it never does."""
    return next((i for i in range(len(within) - HOLD + 1) if all(within[i : i + HOLD])), len(within))


def judge(rows: Sequence[Mapping[str, Any]], kl_before: float) -> Part:
    """Evaluate one part of a run; ``kl_before`` is the KL* before it, 0 at the start."""
    relative = {name: [row[name] / row[f"target_{name}"] for row in rows] for name in ("entropy", "kl")}
    within = [np.abs(running_mean(values, WINDOW) - 1) <= BAND for values in relative.values()]
    close = np.abs(running_mean(relative["entropy"], ENTROPY_WINDOW) - 1) <= ENTROPY_BAND
    smooth = running_mean(relative["kl"], 11)
    above, below, target = smooth.max() - 1, 1 - smooth.min(), rows[0]["target_kl"]
    past = max(above, below) if target == kl_before else above if target > kl_before else below
    last = len(rows) // 3
    return Part(
        settled=settling_step(list(within[0] & within[1])),
        settled_entropy=settling_step(list(close)),
        overshoot_kl=max(float(past), 0.0),
        error_entropy=fmean(relative["entropy"][-last:]) - 1,
        error_kl=fmean(relative["kl"][-last:]) - 1,
    )


def judge_part(rows: Sequence[Mapping[str, Any]], begin: int, end: int) -> Part:
    """Steps ``begin`` to ``end`` of a run."""
    return judge(rows[begin:end], kl_before=rows[begin - 1]["target_kl"] if begin else 0.0)


def plot(records: Mapping[tuple[str, str, int], Mapping[str, Any]], changes: Sequence[int], path: Path) -> None:
    """H, KL, τ and β against the step: median over seeds of the running mean; for two arms the range of the seeds."""
    figure = agg_figure(figsize=(13, 11), layout="constrained")
    axes = figure.subplots(4, len(SCENARIOS), sharex=True, sharey="row")
    for column, scenario in enumerate(SCENARIOS):
        for arm, colour in COLOURS.items():
            runs = [record["rows"] for (a, s, _), record in records.items() if (a, s) == (arm, scenario)]
            if not runs:
                continue
            for axis, name in zip(axes[:, column], ("entropy", "kl", "tau", "beta"), strict=True):
                if name in ("entropy", "kl"):
                    series = np.array([running_mean([r[name] / r[f"target_{name}"] for r in run], 9) for run in runs])
                else:
                    series = np.exp([running_mean([math.log(r[name]) for r in run], 9) for run in runs])
                wide = arm in ("analytic", "K=2")
                axis.plot(np.median(series, axis=0), color=colour, linewidth=2.2 if wide else 1.1, label=arm)
                if wide:
                    axis.fill_between(
                        range(series.shape[1]), series.min(axis=0), series.max(axis=0), color=colour, alpha=0.12
                    )
        settings = SCENARIOS[scenario]
        axes[0, column].set_title(
            f"τ₀ and β₀ ten times too {scenario}; at step {changes[0]} KL* 0.05 → {settings.kl_then},\n"
            f"at step {changes[1]} H* 0.95 → {settings.entropy_then} log G"
        )
        axes[-1, column].set_xlabel("policy step")
    for row, label in zip(axes, ("H / H*", "KL / KL*", "τ", "β"), strict=True):
        row[0].set_ylabel(label)
        for axis in row:
            for change in changes:
                axis.axvline(change, color="0.4", linewidth=0.8, linestyle=":")
            axis.grid(alpha=0.25)
            if label in ("τ", "β"):
                axis.set_yscale("log")
            else:
                axis.axhspan(1 - BAND, 1 + BAND, color="0.9", zorder=0)
    axes[1, 0].set_ylim(0, 2.6)
    axes[0, 1].legend(frameon=False, ncols=2, loc="lower right")
    figure.savefig(path, dpi=110)


def summarise(
    records: Mapping[tuple[str, str, int], Mapping[str, Any]], parts: Mapping[tuple[str, str, int], list[Part]]
) -> list[dict[str, Any]]:
    """One entry an arm and scenario: medians over seeds, and every seed's values."""
    entries = []
    for arm in ARMS:
        for scenario in SCENARIOS:
            keys = [key for key in parts if key[:2] == (arm, scenario)]
            if not keys:
                continue
            runs = [records[key] for key in keys]
            entry: dict[str, Any] = {"arm": arm, "scenario": scenario, "seeds": len(keys)}
            for index, name in enumerate(PARTS):
                found = [parts[key][index] for key in keys]
                entry[name] = {
                    "settled": median(part.settled for part in found),
                    "settled_by_seed": [part.settled for part in found],
                    "settled_entropy": median(part.settled_entropy for part in found),
                    "overshoot_kl": median(part.overshoot_kl for part in found),
                    "error_entropy": fmean(abs(part.error_entropy) for part in found),
                    "error_kl": fmean(abs(part.error_kl) for part in found),
                }
            entry["held_out"] = {
                name: fmean(run["held_out"][name] for run in runs) for name in ("mean", "pass_rate", "coverage")
            }
            entry["seconds_per_step"] = median(row["seconds"] for run in runs for row in run["rows"])
            entry["seconds_hypergradient"] = median(row["seconds_hypergradient"] for run in runs for row in run["rows"])
            entries.append(entry)
    return entries


def print_table(entries: Sequence[Mapping[str, Any]]) -> None:
    """One line an arm and scenario."""
    columns = f"{'settled':>7s} {'H 2 %':>6s} {'over':>5s} {'|KL err|':>8s}"
    print(" " * 20 + "   ".join(f"{name:^{len(columns)}s}" for name in PARTS))
    held_out = f"{'mean@8':>6s} {'pass@8':>6s} {'cov@8':>6s}"
    print(f"{'arm':11s} {'start':5s} {'n':>2s} {'   '.join([columns] * len(PARTS))}   {held_out} {'s/step':>7s}")
    for entry in entries:
        cells = "   ".join(
            f"{part['settled']:7.0f} {part['settled_entropy']:6.0f} {part['overshoot_kl']:5.0%} {part['error_kl']:8.0%}"
            for part in (entry[name] for name in PARTS)
        )
        held_out = " ".join(f"{entry['held_out'][name]:6.3f}" for name in ("mean", "pass_rate", "coverage"))
        name = f"{entry['arm']:11s} {entry['scenario']:5s} {entry['seeds']:2d}"
        print(f"{name} {cells}   {held_out} {entry['seconds_per_step']:7.2f}")


def main() -> None:
    """Run missing runs, evaluate all, write table, JSON and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/objectives"))
    parser.add_argument("--runs", type=Path, default=Path("results/objectives/runs"), help="raw rows of every run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs=3, default=(60, 30, 20), help="of the three parts of a run")
    parser.add_argument("--groups", type=int, default=4, help="groups that the unroll runs over, of 24")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--finished", action="store_true", help="judge the runs that are there, and start none")
    arguments = parser.parse_args()

    keys = [(arm, name, seed) for seed in range(arguments.seeds) for name in SCENARIOS for arm in arguments.arms]
    labels = {"-".join(map(str, key)).replace(" ", "_").replace("=", ""): key for key in keys}
    if arguments.finished:
        labels = {label: key for label, key in labels.items() if (arguments.runs / f"{label}.json").exists()}
    runs, then = {}, {}
    for label, (arm, name, seed) in labels.items():
        scenario = SCENARIOS[name]
        runs[label] = [
            "task.name=countdown_small",
            "controller.target_entropy_fraction=0.95",
            "controller.target_kl=0.05",
            f"train.steps={arguments.steps[0]}",
            f"train.seed={seed}",
            f"controller.tau={SETTLED_TAU * scenario.factor:g}",
            f"controller.beta={SETTLED_BETA * scenario.factor:g}",
            *ARMS[arm],
            *([] if arm == "analytic" else [f"{OBJECTIVE}.unroll.groups={arguments.groups}"]),
        ]
        kl_then = [f"train.steps={arguments.steps[1]}", f"controller.target_kl={scenario.kl_then:g}"]
        entropy_then = [
            f"train.steps={arguments.steps[2]}",
            f"controller.target_kl={scenario.kl_then:g}",
            f"controller.target_entropy_fraction={scenario.entropy_then:g}",
        ]
        then[label] = [kl_then, entropy_then]
    found = run_all(runs, arguments.runs, arguments.processes, then)
    records = {key: found[label] for label, key in labels.items()}
    changes = list(itertools.accumulate(arguments.steps))
    bounds = list(itertools.pairwise([0, *changes]))
    parts = {key: [judge_part(record["rows"], a, b) for a, b in bounds] for key, record in records.items()}
    entries = summarise(records, parts)
    print_table(entries)
    arguments.output.mkdir(parents=True, exist_ok=True)
    summary = {"schema": 1, "window": WINDOW, "band": BAND, "hold": HOLD, "parts": PARTS, "arms": entries}
    (arguments.output / "summary.json").write_text(json.dumps(summary, indent=1))
    plot(records, changes[:-1], arguments.output / "trajectories.png")


if __name__ == "__main__":
    main()
