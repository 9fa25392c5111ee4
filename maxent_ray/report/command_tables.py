"""Tables of single commands: the metrics of one policy, and the points of a sweep."""

from __future__ import annotations

from rich import box
from rich.table import Table

from maxent_ray.evaluation.held_out import HeldOutMetrics
from maxent_ray.evaluation.metric_intervals import measured
from maxent_ray.report.labels import metric_label
from maxent_ray.report.progress import significant
from maxent_ray.report.run_records import REFERENCES
from maxent_ray.report.summary import METRICS, Summary, TrialSummary

DASH = "–"


def held_out_table(metrics: HeldOutMetrics) -> Table:
    """The four held-out metrics of one policy with their intervals."""
    table = _table("metric", "value", "95 % interval")
    for name, each in measured(metrics).items():
        value = DASH if each.value is None else f"{each.value:.3f}"
        interval = DASH if each.interval is None else f"{each.interval.low:.3f} … {each.interval.high:.3f}"
        table.add_row(metric_label(name, metrics.samples), value, interval)
    return table


def points_table(summary: Summary) -> Table:
    """One line for every trial: the values that set it apart, held-out metrics, and how well it was controlled."""
    keys = list(dict.fromkeys(key for trial in summary.trials if not _is_reference(trial) for key in trial.settings))
    names = [key.rpartition(".")[2] for key in keys]
    metrics = [metric_label(metric, summary.samples) for metric in METRICS]
    table = _table("trial", *names, *metrics, "H error", "KL error")
    table.title = "Every point"
    for trial in summary.trials:
        values = [] if _is_reference(trial) else [trial.settings.get(key) for key in keys]
        table.add_row(
            trial.trial,
            *(_text(value) for value in values or [None] * len(keys)),
            *(DASH if trial.held_out is None else _number(trial.held_out[metric].value) for metric in METRICS),
            _percent(trial.entropy_error),
            _percent(trial.kl_error),
        )
    return table


def _is_reference(trial: TrialSummary) -> bool:
    return trial.objective in REFERENCES


def _table(*headers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    for index, header in enumerate(headers):
        table.add_column(header, justify="right" if index else "left", no_wrap=not index)
    return table


def _text(value: object) -> str:
    return significant(value) if isinstance(value, float) else DASH if value is None else str(value)


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return DASH if value is None else f"{100 * value:.1f} %"
