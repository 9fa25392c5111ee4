"""Measures of :mod:`control`: overshoot, time to settle, steady errors, largest step of β; and the bars for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, pstdev
from typing import Any, NamedTuple

WATCHED, RESTING = 60, 60
"""Steps after the target is reached in which an overshoot counts, and of the noise at rest."""
BARS = {"overshoot": 0.10, "overshoot, too low": 0.25, "settled": 20, "H": 0.01, "KL": 0.05, "step": 3.0}
COLUMNS = ("entropy", "kl", "tau", "beta", "target_entropy", "target_kl")


class Response(NamedTuple):
    """Measures of one start or change."""

    overshoot: float | None
    """Largest 5-step mean of KL/KL* beyond 1, in the direction of the way, in the steps after it first got there; None:
    it never did."""
    slow_overshoot: float | None
    """The same of a 21-step mean, most of whose noise is gone; below 0 where only the shorter means got there."""
    settled: int
    """First step from which the 21-step mean is within 10 % for 10 steps; the number of steps for never."""
    entropy_error: float
    """Of the mean over the second half of the phase."""
    kl_error: float
    swing: float
    """Factor ≥ 1 by which β swings in the second half: e to the standard deviation of ln β."""
    largest_step: float
    """Factor ≥ 1."""


def digest(record: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce the record of a run to the columns that are measured and drawn, so that it can be kept for good.

    Args:
        record: As :func:`side_by_side.run_all` makes it.
    """
    columns = {name: [_rounded(row[name]) for row in record["rows"]] for name in COLUMNS}
    return {"overrides": record["overrides"], "then": record["then"], "columns": columns}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def rows_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a digest, one a step."""
    columns = record["columns"]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


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
        >>> round(found.overshoot, 3), found.settled, found.swing, round(found.largest_step, 3)
        (0.2, 63, 1.0, 4.0)
    """
    ratios = [row["kl"] / row["target_kl"] for row in rows]
    slow = centred_means(ratios, 21)
    within = [abs(ratio - 1) < 0.1 for ratio in slow]
    steps = [abs(math.log(b["beta"] / a["beta"])) for a, b in itertools.pairwise(rows)]
    later = len(rows) // 2
    beyond, slowly_beyond = ([(1 - r if falls else r - 1) for r in means] for means in (centred_means(ratios, 5), slow))
    there = next((i for i, excess in enumerate(beyond) if excess >= 0), None)
    watched = slice(0, 0) if there is None else slice(there, there + WATCHED)
    return Response(
        overshoot=max(beyond[watched], default=None),
        slow_overshoot=max(slowly_beyond[watched], default=None),
        settled=next((i for i in range(len(rows) - 9) if all(within[i : i + 10])), len(rows)),
        entropy_error=fmean(row["entropy"] / row["target_entropy"] for row in rows[later:]) - 1,
        kl_error=fmean(ratios[later:]) - 1,
        swing=math.exp(pstdev(math.log(row["beta"]) for row in rows[later:])),
        largest_step=math.exp(max(steps)),
    )


def noise_at_rest(rows: Sequence[Mapping[str, Any]]) -> float:
    """Largest 5-step mean of KL over its own mean, of the last steps of a phase."""
    values = [row["kl"] for row in rows[-RESTING:]]
    return max(centred_means(values, 5)) / fmean(values) - 1


def soonest(kls: Sequence[float], target: float) -> int:
    """First step whose 21-step mean of KL is 90 % of the target or more; the number of steps for never."""
    return next((i for i, kl in enumerate(centred_means(kls, 21)) if kl >= 0.9 * target), len(kls))


def medians(phases: Sequence[Sequence[Mapping[str, Any]]], falls: bool = False) -> dict[str, float | None]:
    """Medians over seeds of every measure; of overshoots over those that have one, of the largest step the maximum."""
    found = [measure(phase, falls) for phase in phases]
    there = [each for each in found if each.overshoot is not None]
    overshoots = ("overshoot", "slow_overshoot")
    return {
        **{name: median(getattr(each, name) for each in there) if there else None for name in overshoots},
        "at_rest": median(noise_at_rest(phase) for phase in phases),
        **{name: median(getattr(each, name) for each in found) for name in ("settled", "swing")},
        **{name: median(abs(getattr(each, name)) for each in found) for name in ("entropy_error", "kl_error")},
        "largest_step": max(each.largest_step for each in found),
    }


def meets(row: Mapping[str, Any]) -> dict[str, bool]:
    """Bars that a row of the table meets."""
    bar = BARS["overshoot, too low"] if row["start"] == "too low" else BARS["overshoot"]
    return {
        "overshoot": row["overshoot"] is not None and row["overshoot"] <= bar,
        "settled": row["settled"] <= BARS["settled"],
        "H": row["entropy_error"] <= BARS["H"],
        "KL": row["kl_error"] <= BARS["KL"],
        "step": float(f"{row['largest_step']:.4g}") <= BARS["step"],  # digests keep five digits
    }


def table(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Table of medians, with a star at each that misses its bar; ``names`` are those of the starts."""
    measures = ("overshoot", "21-step", "at rest", "settled", "H error", "KL error", "β swings", "largest step")
    heads = ("objective", "start", *measures)
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        star = {name: "" if met else " \\*" for name, met in meets(row).items()}
        lines.append(
            f"| {row['objective']} | {names[row['start']]} | "
            f"{_percent(row['overshoot'])}{star['overshoot']} | {_percent(row['slow_overshoot'])} | "
            f"{row['at_rest']:.0%} | {row['settled']:.0f}{star['settled']} | {row['entropy_error']:.1%}{star['H']} | "
            f"{row['kl_error']:.1%}{star['KL']} | × {row['swing']:.1f} | × {row['largest_step']:.2f}{star['step']} |"
        )
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "never there" if value is None else f"{value:+.0%}"
