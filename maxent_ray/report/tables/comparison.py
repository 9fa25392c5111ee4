"""Tables of the held-out comparison: objectives with their intervals, and their differences to plain GRPO."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.evaluation.metric_intervals import Estimate, HeldOut
from maxent_ray.report.formatting import DASH, fixed, percent, significant
from maxent_ray.report.labels import BASELINE, objective_label
from maxent_ray.report.objective_summary import ObjectiveSummary
from maxent_ray.report.summary import Summary
from maxent_ray.report.tables.layout import make_table, metric_headers

WIDE = 94
"""Columns of a terminal from which intervals have three decimals."""
Cell = tuple[str, str]
"""A value and its interval, or nothing."""


@dataclass(frozen=True)
class TableLine:
    """One line of the comparison, as text."""

    label: str
    held_out: tuple[Cell, ...]
    """Training score alone, of runs that hold nothing out."""
    entropy_error: str = ""
    kl_error: str = ""
    seconds: str = ""
    secondary: bool = False
    """It belongs to the line above."""
    ends_section: bool = False


def comparison_lines(summary: Summary, decimals: int = 3) -> list[TableLine]:
    """Lines of the comparison: each objective's best trial, the mean of its trials, then the references."""
    last = {objective.reference: objective for objective in summary.objectives}  # of each section
    return [
        line
        for objective in summary.objectives
        for line in _lines(summary, objective, decimals, ends_section=objective is last[objective.reference])
    ]


def comparison_table(summary: Summary, width: int = 100) -> Table:
    """Make the comparison for a terminal; intervals stand under their values.

    Args:
        summary: Of the run.
        width: Columns of the terminal; below 94, intervals are cut to two decimals.
    """
    title = f"Held-out comparison: value, [95 % interval] over {held_out_prompts(summary)}"
    if not summary.held_out_metrics:
        title = f"Comparison: {summary.score_label}, mean of the last {summary.window} steps"
    table = make_table(title, "", [*metric_headers(summary), "tracking", "s/step"])
    for line in comparison_lines(summary, decimals=3 if width >= WIDE else 2):
        style = "dim" if line.secondary else "bold"
        tracked = line.entropy_error not in ("", DASH) or line.kl_error not in ("", DASH)
        table.add_row(
            Text(line.label, style=style),
            *(_two_lines(cell, style) for cell in line.held_out),
            f"H {line.entropy_error}\nKL {line.kl_error}" if tracked else line.entropy_error,
            line.seconds,
            end_section=line.ends_section,
        )
    return table


def difference_table(summary: Summary, width: int = 100) -> Table | None:
    """Make the table of best trials minus plain GRPO, `width` as in `comparison_table`; None without plain GRPO."""
    compared = compared_objectives(summary)
    if not compared:
        return None
    table = make_table(
        f"Difference to {objective_label(BASELINE)}, paired over prompts", "", metric_headers(summary)
    )
    for objective, differences in compared:
        cells = []
        for metric in METRICS:
            estimate = differences[metric]
            style = "" if not estimate.excludes_zero else "green" if (estimate.value or 0.0) > 0 else "red"
            cells.append(_two_lines(estimate_cell(estimate, 3 if width >= WIDE else 2, signed=True), style))
        table.add_row(Text(best_label(objective), style="bold"), *cells)
    return table


def compared_objectives(summary: Summary) -> list[tuple[ObjectiveSummary, HeldOut]]:
    """Objectives with a difference to plain GRPO."""
    return [(o, o.against_baseline) for o in summary.objectives if o.against_baseline is not None]


def held_out_prompts(summary: Summary) -> str:
    """Number of held-out prompts, in words."""
    return "held-out prompts" if summary.prompts is None else f"{summary.prompts} held-out prompts"


def best_label(objective: ObjectiveSummary) -> str:
    """Label of an objective's best trial."""
    return objective_label(objective.objective) + (", best trial" if len(objective.trials) > 1 else "")


def estimate_cell(estimate: Estimate, decimals: int = 3, *, signed: bool = False) -> Cell:
    """Write a value with three decimals, its interval with `decimals`; both without the zero before the point."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return DASH, ""

    def text(number: float, places: int) -> str:
        digits = f"{number:{'+' if signed else ''}.{places}f}"
        return digits.replace("-", "−").replace("0.", ".", 1) if abs(number) < 1 else digits.replace("-", "−")

    return text(estimate.value, 3), f"[{text(estimate.low, decimals)}, {text(estimate.high, decimals)}]"


def _lines(summary: Summary, objective: ObjectiveSummary, decimals: int, *, ends_section: bool) -> Iterator[TableLine]:
    several = len(objective.trials) > 1
    yield TableLine(
        label=best_label(objective),
        held_out=_cells(objective.held_out, objective.score, decimals, summary),
        entropy_error=percent(objective.entropy_error),
        kl_error=percent(objective.kl_error),
        seconds=fixed(objective.signals["seconds_per_step"], 2),
        ends_section=ends_section and not several,
    )
    if several:
        yield TableLine(
            label=f"{objective_label(objective.objective)}, mean of {len(objective.finished)}",
            held_out=_cells(objective.held_out_all, objective.score_all, decimals, summary),
            secondary=True,
            ends_section=ends_section,
        )


def _cells(held_out: HeldOut | None, score: float | None, decimals: int, summary: Summary) -> tuple[Cell, ...]:
    if not summary.held_out_metrics:
        return ((significant(score), ""),)
    if held_out is None:
        return ((DASH, ""),) * len(METRICS)
    return tuple(estimate_cell(held_out[metric], decimals) for metric in METRICS)


def _two_lines(cell: Cell, style: str) -> Text:
    value, interval = cell
    return Text.assemble((value, style), (f"\n{interval}", "dim")) if interval else Text(value, style=style)
