"""Report of :mod:`tournament`: its table, the claims it was made for, and its page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from tournament_arms import LAST, Arm

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.evaluation.bootstrap import Interval, seed_and_prompt_interval

OURS, BASE, KL_LOOP = "analytic", "grpo", "grpo_kl_loop"
"""Arm that the claims are about, the one that it is compared with, and that one with our KL loop alone."""
GOALS = {"mean": -0.02, "pass_rate": 0.06, "coverage": 0.1}
"""Metric → what the difference to `BASE` shall be at the least: of the interval's lower end for ``mean``."""
FRONT = ("mean", "pass_rate", "coverage")
"""Metrics in which an arm dominates another."""
FAMILIES = {
    "ours": "Ours",
    "ablations": "Parts of ours",
    "fixed": "Fixed τ and β: the best of a grid, and its neighbours",
    "grpo": "GRPO",
    "rules": "Rules of thumb on our signals",
    "other": "Other ways to keep diversity",
}


@dataclass(frozen=True)
class Result:
    """All runs of one arm."""

    arm: Arm
    runs: Mapping[int, Mapping[str, Any]]
    """Seed → record."""

    def table(self, metric: str) -> list[list[float]]:
        """Held-out values, ``[seeds][prompts]``."""
        return [self.runs[seed]["held_out"][metric] for seed in sorted(self.runs)]

    def value(self, metric: str) -> float:
        """Mean over seeds and prompts."""
        return float(np.mean(self.table(metric)))

    def interval(self, metric: str) -> Interval:
        """95 % interval over seeds and prompts."""
        return seed_and_prompt_interval(self.table(metric))

    def last(self, key: str) -> float | None:
        """Mean of a training figure over the last steps of all runs; None where there is none."""
        if key == "tau" and not self.arm.has_tau:
            return None
        found = [run["last"][key] for run in self.runs.values() if run["last"][key] is not None]
        return fmean(found) if found else None


@dataclass(frozen=True)
class Difference:
    """One arm less another, on the seeds that both have, paired by seed and prompt."""

    value: float
    interval: Interval

    def __str__(self) -> str:
        """Three decimals, with the interval."""
        return f"{self.value:+.3f} [{self.interval.low:+.3f}, {self.interval.high:+.3f}]"


def difference(one: Result, other: Result, metric: str) -> Difference:
    """Paired difference of a metric."""
    both = sorted(one.runs.keys() & other.runs.keys())
    a, b = ([each.runs[seed]["held_out"][metric] for seed in both] for each in (one, other))
    return Difference(float(np.mean(a) - np.mean(b)), seed_and_prompt_interval(a, b))


def pooled_table(results: Mapping[str, Result]) -> str:
    """All controllers of our family as one, by seed and prompt the mean of them, less the arms without one.

    Empty where there is one controller or none.
    """
    ours = [result for result in results.values() if result.arm.family == "ours"]
    if len(ours) < 2:
        return ""
    shared = set.intersection(*(set(each.runs) for each in ours))
    means = {
        seed: {"held_out": {m: np.mean([each.runs[seed]["held_out"][m] for each in ours], axis=0) for m in METRICS}}
        for seed in shared
    }
    pooled, lines = Result(ours[0].arm, means), []
    for name in (BASE, KL_LOOP):
        if name in results and (seeds := shared & results[name].runs.keys()):
            cells = (str(difference(pooled, results[name], metric)) for metric in METRICS)
            lines.append(f"| less `{name}` | {len(ours)} × {len(seeds)} | {' | '.join(cells)} |")
    heads = f"| all of ours | runs | {' | '.join(map(_name, METRICS))} |\n{'|---' * (len(METRICS) + 2)}|"
    return "\n".join([heads, *lines]) if lines else ""


def verdicts(results: Mapping[str, Result], warm_start: Result) -> list[str]:
    """Each claim, and whether it was reached."""
    if OURS not in results or BASE not in results:
        return [f"{OURS} or {BASE} has no run yet: nothing to compare."]
    ours, base = results[OURS], results[BASE]
    lines = []
    for metric, goal in GOALS.items():
        found = difference(ours, base, metric)
        if metric == "mean":
            reached, wanted = found.interval.low > goal, f"interval's lower end above {goal:+.2f}"
        else:
            reached, wanted = found.value >= goal and found.interval.low > 0, f"{goal:+.2f} or more, without 0"
        lines.append(f"{_name(metric)}: {found} against {BASE} ({wanted}): {_verdict(reached)}")
    solved = difference(ours, warm_start, "pass_rate")
    lines.append(f"pass@8: {solved} against the warm start (interval above 0): {_verdict(solved.interval.low > 0)}")
    better, others = dominating(results), len(_comparable(results, ours))
    named = f" ({'; '.join(better)})" if better else ""
    lines.append(f"{len(better)} of {others} other arms above {OURS} in all three means: {_verdict(not better)}{named}")
    return lines


def dominating(results: Mapping[str, Result]) -> list[str]:
    """Arms that are above ours in mean@8, pass@8 and coverage@8 alike, with the metrics in which that is no chance."""
    ours, found = results[OURS], []
    for name, result in _comparable(results, ours).items():
        by_metric = {metric: difference(result, ours, metric) for metric in FRONT}
        if all(each.value > 0 for each in by_metric.values()):
            seeds = len(result.runs.keys() & ours.runs.keys())
            sure = [_name(metric) for metric, each in by_metric.items() if each.interval.low > 0]
            certainty = "of one seed" if seeds == 1 else f"for certain in {', '.join(sure) or 'none'}"
            found.append(f"`{name}` by {', '.join(f'{each.value:.3f}' for each in by_metric.values())}, {certainty}")
    return found


def _comparable(results: Mapping[str, Result], one: Result) -> dict[str, Result]:
    """Other arms that have a seed in common with one."""
    return {n: r for n, r in results.items() if r is not one and r.runs.keys() & one.runs.keys()}


def _verdict(reached: bool) -> str:
    return "**reached**" if reached else "**not reached**"


def _name(metric: str) -> str:
    return f"{'pass' if metric == 'pass_rate' else metric}@8"


def main_table(results: Iterable[Result], warm_start: Result) -> str:
    """Held-out metrics of every arm with their intervals, and where its training came to."""
    heads = ["arm", "seeds", *map(_name, METRICS), "H", "KL", "τ", "β", "tied", "token entropy"]
    rows = [[f"**{warm_start.arm.name}**", str(len(warm_start.runs)), *_metric_cells(warm_start), *[""] * 6]]
    family = ""
    for result in results:
        if result.arm.family != family:
            family = result.arm.family
            rows.append([f"*{FAMILIES.get(family, family)}*", *[""] * (len(heads) - 1)])
        rows.append(_row(result))
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def _row(result: Result) -> list[str]:
    figures = map(result.last, ("entropy", "kl", "tau", "beta", "tied_share", "policy_entropy"))
    return [
        f"`{result.arm.name}`",
        str(len(result.runs)),
        *_metric_cells(result),
        *("" if v is None else f"{v:.3g}" for v in figures),
    ]


def _metric_cells(result: Result) -> list[str]:
    cells = []
    for metric in METRICS:
        low, high = result.interval(metric)
        cells.append(f"{result.value(metric):.3f} [{low:.3f}, {high:.3f}]")
    return cells


def difference_table(results: Mapping[str, Result]) -> str:
    """Every arm less ours, paired."""
    lines = [f"| less `{OURS}` | " + " | ".join(map(_name, METRICS)) + " |", "|---" * (len(METRICS) + 1) + "|"]
    for name, result in _comparable(results, results[OURS]).items():
        cells = (str(difference(result, results[OURS], metric)) for metric in METRICS)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def page(
    results: Mapping[str, Result], warm_start: Result, command: str, missing: Sequence[str], notes: str, setting: str
) -> str:
    """The whole page, in Markdown.

    Args:
        results: By name of the arm, in the order of the page.
        warm_start: The policy before training; a draw of answers for every seed.
        command: Command that makes it.
        missing: Labels of runs that were not made yet.
        notes: Prose of ``notes.md`` beside the page, written by hand: what was learned.
        setting: Task, steps and policy of all arms.
    """
    first = next(iter(results.values()))
    seeds = sorted({seed for result in results.values() for seed in result.runs})
    prompts = len(first.table("mean")[0])
    todo = f"\n\n**{len(missing)} runs are missing**: the command makes them, and this page anew." if missing else ""
    arms = [each.arm for each in results.values()]
    configs = "../../configs/tournament"
    descriptions = "\n".join(f"| [`{a.name}`]({configs}/{a.family}/{a.name}.yaml) | {a.text} |" for a in arms)
    return "\n\n".join(
        [
            f"# Tournament: {len(results)} ways to train, side by side",
            f"```console\n{command}\n```",
            f"{setting}; the same prompts and seeds ({', '.join(map(str, seeds))}) for every arm; {prompts} held-out "
            "prompts × 8 samples, which choose nothing. Each arm is a file in "
            "`experiments/configs/tournament`: add one, run the command again, and the missing runs are made. "
            f" Finished runs are in `runs/`.{todo}",
            "## What was to be shown",
            "\n".join(f"- {line}" for line in verdicts(results, warm_start)),
            "![mean@8 against pass@8 and coverage@8](pareto.png)",
            *([notes] if notes else []),
            "## All arms",
            "Held-out means with 95 % intervals over seeds *and* prompts (both resampled). H (entropy of the weights, "
            "nats), KL (nats per token), τ, β and the share of groups whose rewards all tie: means over the last "
            f"{LAST} steps. Token entropy: the policy's, nats. The warm start's seeds are draws of 8 answers to a "
            "prompt.",
            main_table(results.values(), warm_start),
            "## Paired differences to ours",
            "By seed and prompt, with 95 % intervals over both.",
            difference_table(results) if OURS in results else "",
            pooled_table(results),
            "## What each arm is",
            "| arm | what it is |\n|---|---|\n" + descriptions,
        ]
    )
