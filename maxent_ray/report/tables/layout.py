"""Layout that all tables share: light rules, text at the left, numbers at the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich import box
from rich.table import Table

from maxent_ray.report.summary import Summary

Keep = Literal["first", "numbers"]


def make_table(title: str | None, first: str, headers: Sequence[str], *, keep: Keep | None = "numbers") -> Table:
    """Make an empty table.

    Args:
        title: Title over it; None for none.
        first: Header of the first column, which is text.
        headers: Headers of the other columns, which are numbers.
        keep: Columns that are kept whole where the terminal is too narrow; None for neither.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=title,
        title_justify="left",
        title_style="bold",
    )
    table.add_column(first, no_wrap=keep == "first")
    for header in headers:
        table.add_column(header, justify="right", no_wrap=keep == "numbers")
    return table


def metric_headers(summary: Summary) -> list[str]:
    """Headers of the held-out metrics, with their k; where nothing is held out, that of the training score."""
    return [*summary.held_out_metrics.values()] or [summary.score_label]


def markdown_table(headers: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown, the first column text, the others numbers."""
    rule = ["---", *("---:" for _ in headers[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rule, *body))
