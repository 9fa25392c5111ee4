"""The comparison as tables: for a terminal (rich) and for a page (Markdown)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from maxent_ray.report.health import health_lines
from maxent_ray.report.labels import metric_label, objective_label
from maxent_ray.report.progress import significant
from maxent_ray.report.summary import BASELINE, METRICS, Estimate, HeldOut, ObjectiveSummary, Summary
from maxent_ray.report.timing import clock

DASH = "–"
_WIDE = 94


@dataclass(frozen=True)
class Row:
    """One line of the comparison, as text."""

    label: str
    held_out: tuple[tuple[str, str], ...]
    """Value and interval of the four metrics."""
    entropy_error: str = ""
    kl_error: str = ""
    seconds: str = ""
    secondary: bool = False
    """It belongs to the line above."""
    ends_section: bool = False


def comparison_rows(summary: Summary, decimals: int = 3) -> list[Row]:
    """Lines of the comparison: each objective's best trial, the mean of its trials, then the references."""
    rows: list[Row] = []
    for objective in summary.objectives:
        several = len(objective.trials) > 1
        last = objective is [o for o in summary.objectives if o.reference == objective.reference][-1]
        label = objective_label(objective.objective)
        rows.append(
            Row(
                label=_best_label(objective),
                held_out=_cells(objective.held_out, decimals),
                entropy_error=_percent(objective.entropy_error),
                kl_error=_percent(objective.kl_error),
                seconds=DASH if objective.seconds_per_step is None else f"{objective.seconds_per_step:.2f}",
                ends_section=last and not several,
            )
        )
        if several:
            count = len(objective.finished)
            rows.append(
                Row(
                    label=f"{label}, mean of {count}",
                    held_out=_cells(objective.held_out_all, decimals),
                    secondary=True,
                    ends_section=last,
                )
            )
    return rows


def comparison_table(summary: Summary, width: int = 100) -> Table:
    """The comparison for a terminal; intervals stand under their values.

    Args:
        summary: What to show.
        width: Columns of the terminal; below 94, intervals are cut to two decimals.
    """
    table = _table(f"Held-out comparison: value, [95 % interval] over {_prompts(summary)}")
    for header in _metric_headers(summary):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("tracking", "s/step"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in comparison_rows(summary, decimals=3 if width >= _WIDE else 2):
        style = "dim" if row.secondary else "bold"
        tracked = row.entropy_error not in ("", DASH) or row.kl_error not in ("", DASH)
        table.add_row(
            Text(row.label, style=style),
            *(_two_lines(value, interval, style) for value, interval in row.held_out),
            f"H {row.entropy_error}\nKL {row.kl_error}" if tracked else row.entropy_error,
            row.seconds,
            end_section=row.ends_section,
        )
    return table


def difference_table(summary: Summary, width: int = 100) -> Table | None:
    """Best trials minus plain GRPO, `width` as in `comparison_table`; None without plain GRPO."""
    compared = _compared(summary)
    if not compared:
        return None
    table = _table(f"Difference to {objective_label(BASELINE)}, paired over prompts")
    for header in _metric_headers(summary):
        table.add_column(header, justify="right", no_wrap=True)
    for objective, differences in compared:
        cells = []
        for metric in METRICS:
            estimate = differences[metric]
            value, interval = _estimate(estimate, 3 if width >= _WIDE else 2, signed=True)
            style = "" if not estimate.excludes_zero else "green" if (estimate.value or 0.0) > 0 else "red"
            cells.append(_two_lines(value, interval, style))
        table.add_row(Text(_best_label(objective), style="bold"), *cells)
    return table


def settings_table(summary: Summary) -> Table | None:
    """The best settings found, and the coefficients that they led to."""
    tuned = _tuned(summary)
    if not tuned:
        return None
    table = _table("Best settings found")
    for objective in tuned:
        table.add_column(objective_label(objective.objective), justify="right")
    for name, values in _settings_rows(tuned):
        table.add_row(name, *values)
    return table


def verdicts(summary: Summary) -> list[str]:
    """What can be said in words, one sentence for every objective.

    Returns:
        Sentences such as ``analytic against plain GRPO: coverage@8 higher by 0.120 (0.080 to 0.160); no clear
        difference in mean@8.`` A metric is called higher or lower when its interval excludes zero.
    """
    sentences = []
    for objective, differences in _compared(summary):
        clear, unclear = [], []
        for metric in METRICS:
            estimate, name = differences[metric], metric_label(metric, summary.samples)
            if estimate.value is None or estimate.low is None or estimate.high is None:
                continue
            if not estimate.excludes_zero:
                unclear.append(name)
                continue
            low, high = sorted((abs(estimate.low), abs(estimate.high)))
            direction = "higher" if estimate.value > 0 else "lower"
            clear.append(f"{name} {direction} by {abs(estimate.value):.3f} ({low:.3f} to {high:.3f})")
        parts = [", ".join(clear)] if clear else []
        if unclear:
            parts.append(f"no clear difference in {_list(unclear)}")
        if parts:
            sentences.append(f"{_best_label(objective)} against plain GRPO: {'; '.join(parts)}.")
    return sentences


def footnotes(summary: Summary) -> list[str]:
    """How to read the comparison, and what is missing from it."""
    score = metric_label(summary.metric, summary.group_size)
    notes = [
        f"[low, high]: 95 % bootstrap intervals over {_prompts(summary)}, {summary.samples} samples each. "
        "They say how far other prompts could move a value, not how far other seeds could.",
        f"The best trial of an objective is the one with the highest {score} on its training prompts over "
        f"its last {summary.window} steps; the held-out prompts play no part in the choice.",
        "Tracking of H and KL: |mean of (H − H*)/H*| and |mean of (KL − KL*)/KL*| over the last third of a "
        "trial's steps, averaged over the trials of an objective. "
        "s/step: median while the whole population shared the machine.",
    ]
    if summary.unfinished:
        notes.append(f"Unfinished, without a held-out evaluation: {_list(summary.unfinished)}.")
    if summary.torn_lines:
        notes.append(f"{summary.torn_lines} line(s) of the records were cut off and left out.")
    failed = sum(trial.failed_unrolls or 0 for trial in summary.trials)
    if failed:
        notes.append(f"{failed} unroll(s) of truncated backprop ran out of memory; logs say what to choose instead.")
    if summary.wall_seconds is not None:
        notes.append(f"The whole job took {clock(summary.wall_seconds)}.")
    return notes


def print_comparison(summary: Summary, console: Console) -> None:
    """Print all tables, the verdicts, what went wrong, and the footnotes."""
    width = console.width
    for table in (
        comparison_table(summary, width),
        difference_table(summary, width),
        settings_table(summary),
    ):
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
    """The same as a page: tables in Markdown, verdicts, what went wrong, footnotes."""
    headers = ["", *_metric_headers(summary), "H error", "KL error", "s/step"]
    body = [
        [
            row.label,
            *(f"{v} {i}".strip() for v, i in row.held_out),
            row.entropy_error,
            row.kl_error,
            row.seconds,
        ]
        for row in comparison_rows(summary)
    ]
    parts = [_markdown(headers, body)]
    compared, tuned = _compared(summary), _tuned(summary)
    if compared:
        differences = [
            [
                _best_label(objective),
                *(" ".join(_estimate(values[metric], signed=True)).strip() for metric in METRICS),
            ]
            for objective, values in compared
        ]
        first = f"difference to {objective_label(BASELINE)}, paired"
        parts.append(_markdown([first, *_metric_headers(summary)], differences))
    if tuned:
        names = [objective_label(objective.objective) for objective in tuned]
        settings = [[name, *values] for name, values in _settings_rows(tuned)]
        parts.append(_markdown(["best settings found", *names], settings))
    if sentences := verdicts(summary):
        parts.append("\n".join(f"- {sentence}" for sentence in sentences))
    if lines := health_lines(summary):
        parts.append("\n".join(f"- **{line}**" for line in lines))
    parts.append("\n".join(f"- {note}" for note in footnotes(summary)))
    return "\n\n".join(parts) + "\n"


def _compared(summary: Summary) -> list[tuple[ObjectiveSummary, HeldOut]]:
    return [(o, o.against_baseline) for o in summary.objectives if o.against_baseline is not None]


def _tuned(summary: Summary) -> list[ObjectiveSummary]:
    return [objective for objective in summary.objectives if not objective.reference]


def _metric_headers(summary: Summary) -> list[str]:
    return [metric_label(metric, summary.samples) for metric in METRICS]


def _settings_rows(tuned: Sequence[ObjectiveSummary]) -> list[tuple[str, list[str]]]:
    """Trial, settings and final coefficients, one line each, one value for every objective."""

    def line(name: str, values: Mapping[str, Any]) -> tuple[str, list[str]]:
        return name, [_setting(values.get(objective.objective)) for objective in tuned]

    keys = dict.fromkeys(key for objective in tuned for key in objective.best_settings)
    return [
        line("trial", {o.objective: o.best_trial for o in tuned}),
        *(line(key, {o.objective: o.best_settings.get(key) for o in tuned}) for key in keys),
        line("τ at the end", {o.objective: o.best_tau for o in tuned}),
        line("β at the end", {o.objective: o.best_beta for o in tuned}),
    ]


def _setting(value: object) -> str:
    if value is None:
        return DASH
    return significant(value) if isinstance(value, float) else str(value)


def _table(title: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=title,
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    return table


def _two_lines(value: str, interval: str, style: str) -> Text:
    return Text.assemble((value, style), (f"\n{interval}", "dim")) if interval else Text(value, style=style)


def _prompts(summary: Summary) -> str:
    return "held-out prompts" if summary.prompts is None else f"{summary.prompts} held-out prompts"


def _best_label(objective: ObjectiveSummary) -> str:
    several = len(objective.trials) > 1
    return (
        f"{objective_label(objective.objective)}, best trial"
        if several
        else objective_label(objective.objective)
    )


def _cells(held_out: HeldOut | None, decimals: int) -> tuple[tuple[str, str], ...]:
    if held_out is None:
        return ((DASH, ""),) * len(METRICS)
    return tuple(_estimate(held_out[metric], decimals) for metric in METRICS)


def _estimate(estimate: Estimate, decimals: int = 3, *, signed: bool = False) -> tuple[str, str]:
    """A value with three decimals, its interval with `decimals`; both without the zero before the point."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return DASH, ""

    def text(number: float, places: int) -> str:
        digits = f"{number:{'+' if signed else ''}.{places}f}"
        return digits.replace("-", "−").replace("0.", ".", 1) if abs(number) < 1 else digits.replace("-", "−")

    return text(estimate.value, 3), f"[{text(estimate.low, decimals)}, {text(estimate.high, decimals)}]"


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.1f} %"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _markdown(headers: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in headers[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rule, *body))
