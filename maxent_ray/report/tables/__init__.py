"""The comparison as tables and sentences: for a terminal (rich) and for a page (Markdown)."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.report.health import health_lines
from maxent_ray.report.labels import BASELINE, objective_label
from maxent_ray.report.summary import Summary
from maxent_ray.report.tables.comparison import (
    Cell,
    best_label,
    compared_objectives,
    comparison_lines,
    comparison_table,
    difference_table,
    estimate_cell,
)
from maxent_ray.report.tables.held_out import held_out_table
from maxent_ray.report.tables.layout import markdown_table, metric_headers
from maxent_ray.report.tables.sentences import footnotes, verdicts
from maxent_ray.report.tables.settings import points_table, settings_lines, settings_table, tuned_objectives
from maxent_ray.report.tables.targets import front_sentence, target_tables

__all__ = ["comparison_markdown", "held_out_table", "points_table", "print_comparison", "print_sweep"]


def print_sweep(summary: Summary, console: Console) -> None:
    """Print what the targets of a sweep led to, one line for every point, the Pareto front, and all of a comparison."""
    for heading, tables in target_tables(summary, console.width):
        console.print(Text(heading, style="bold"))
        for table in tables:
            console.print(Padding(table, (0, 0, 1, 0)))
    console.print(points_table(summary))
    console.print(Text(front_sentence(summary)))
    print_comparison(summary, console)


def print_comparison(summary: Summary, console: Console) -> None:
    """Print all tables, the verdicts, alarms and degraded steps, and the footnotes."""
    width = console.width
    for table in (comparison_table(summary, width), difference_table(summary, width), settings_table(summary)):
        if table is not None:
            console.print(Padding(table, (1, 0, 0, 0)))
    console.print()
    for sentence in verdicts(summary):
        console.print(Text(f"• {sentence}"))
    console.print()
    for line in health_lines(summary):
        console.print(Text(f"! {line}", style="yellow"))
    for note in footnotes(summary):
        console.print(Text(note, style="dim"))


def comparison_markdown(summary: Summary) -> str:
    """Write the same as a page in Markdown."""
    parts = [_comparison(summary)]
    if compared := compared_objectives(summary):
        differences = [
            [best_label(objective), *(_joined(estimate_cell(values[metric], signed=True)) for metric in METRICS)]
            for objective, values in compared
        ]
        first = f"difference to {objective_label(BASELINE)}, paired"
        parts.append(markdown_table([first, *metric_headers(summary)], differences))
    if tuned := tuned_objectives(summary):
        names = [objective_label(objective.objective) for objective in tuned]
        parts.append(markdown_table(["best settings found", *names], settings_lines(summary)))
    if sentences := verdicts(summary):
        parts.append("\n".join(f"- {sentence}" for sentence in sentences))
    if lines := health_lines(summary):
        parts.append("\n".join(f"- **{line}**" for line in lines))
    parts.append("\n".join(f"- {note}" for note in footnotes(summary)))
    return "\n\n".join(parts) + "\n"


def _comparison(summary: Summary) -> str:
    headers = ["", *metric_headers(summary), "H error", "KL error", "s/step"]
    body = [
        [line.label, *map(_joined, line.held_out), line.entropy_error, line.kl_error, line.seconds]
        for line in comparison_lines(summary)
    ]
    return markdown_table(headers, body)


def _joined(cell: Cell) -> str:
    return " ".join(cell).strip()
