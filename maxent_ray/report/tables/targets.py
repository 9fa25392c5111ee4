"""Effect of a sweep's targets as tables: a heat map for each measure, and the Pareto front in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.columns import Columns
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from maxent_ray.report.labels import setting_label
from maxent_ray.report.measures import Measure, measures
from maxent_ray.report.summary import Summary
from maxent_ray.report.sweep_summary import SweepPoint, SweepSummary, absence_mark, short
from maxent_ray.report.tables.layout import make_table

_STEPS = ("#00204D", "#31446B", "#666970", "#958F78", "#CAB969", "#FFEA46")
"""Steps of cividis, the worst first; the backgrounds of the cells."""
_LIGHT_INK = 3
"""Steps on which light letters are read better."""
_MANY = 8
"""Values of a target from which cells would not fit; then there are the lines of all points."""
BEST = "*"
"""Mark of the best cell, where there are no colours."""


def target_tables(summary: Summary, width: int) -> Iterator[tuple[str, Sequence[RenderableType]]]:
    """Make a heading for each objective (and each further setting), and its heat maps side by side.

    Nothing for points that fill no grid: their lines in the table of all points say the same.

    Args:
        summary: Of the run.
        width: Columns of the terminal.
    """
    sweep = summary.sweep
    if sweep is None or sweep.layout == "scatter" or len(sweep.values(sweep.x)) > _MANY:
        return
    for heading, points in sweep.groups().items():
        tables = [_heat_map(sweep, points, measure) for measure in measures(summary)]
        note = f"What do the targets buy? {heading} ({BEST}: best of all, at N: stopped early at step N, –: no result)"
        yield note, [Columns(tables, padding=(0, 2))]


def front_sentence(summary: Summary) -> str:
    """Name the points on the Pareto front.

    Returns:
        A sentence such as ``Pareto front of mean@8 and coverage@8, which no other point beats in both: analytic-2
        (H*/log G .85, KL* .03).``
    """
    names = f"{summary.held_out_metrics['mean']} and {summary.held_out_metrics['coverage']}"
    sweep = summary.sweep
    if sweep is None or not sweep.front:
        return f"No Pareto front of {names}: no finished point has both."
    points = {point.trial: point for point in sweep.points}
    listed = "; ".join(f"{trial} ({sweep.label(points[trial])})" for trial in sweep.front)
    return f"Pareto front of {names}, points that no other beats in both: {listed}."


def _heat_map(sweep: SweepSummary, points: Sequence[SweepPoint], measure: Measure) -> Table:
    """Make a table with a cell for each pair of targets; the highest of the vertical ones on top."""
    known = [value for point in sweep.points if (value := point.value(measure.name)) is not None]
    up = [None] if sweep.y is None else list(reversed(sweep.values(sweep.y)))
    corner = "" if sweep.y is None else f"{setting_label(sweep.y)} \\ "
    across = sweep.values(sweep.x)
    table = make_table(measure.label, f"{corner}{setting_label(sweep.x)}", [short(value) for value in across])
    for y in up:
        cells = []
        for x in across:
            own = [p for p in points if p.settings.get(sweep.x) == x and (sweep.y is None or p.settings[sweep.y] == y)]
            cells.append(_cell(own[0] if own else None, measure, known))
        table.add_row("" if y is None else short(y), *cells)
    return table


def _cell(point: SweepPoint | None, measure: Measure, known: Sequence[float]) -> Text:
    value = None if point is None else point.value(measure.name)
    if value is None:
        return Text(absence_mark(point), style="dim")
    low, high = min(known), max(known)
    share = 1.0 if high == low else (value - low) / (high - low)
    share = 1 - share if measure.is_error and high > low else share
    step = min(int(share * len(_STEPS)), len(_STEPS) - 1)
    ink = "white" if step < _LIGHT_INK else "black"
    best = value == (low if measure.is_error else high)
    return Text(f" {measure.text(value)}{BEST if best else ' '}", style=f"{ink} on {_STEPS[step]}")
