"""Tables of settings: the best ones of each objective, and all points of a sweep."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from maxent_ray.core import signals
from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.report.formatting import DASH, fixed, percent, setting
from maxent_ray.report.labels import REFERENCES, objective_label, setting_label
from maxent_ray.report.objective_summary import ObjectiveSummary
from maxent_ray.report.summary import Summary
from maxent_ray.report.tables.layout import make_table, metric_headers

_COLUMNS = ("seconds_per_step",)
"""Figures that the comparison has a column of."""


def settings_table(summary: Summary) -> Table | None:
    """Make the table of the best settings found and the signals that they led to; None without an objective."""
    tuned = tuned_objectives(summary)
    if not tuned:
        return None
    table = make_table(
        "Best settings found", "", [objective_label(objective.objective) for objective in tuned], keep=None
    )
    for name, *values in settings_lines(summary):
        table.add_row(name, *values)
    return table


def tuned_objectives(summary: Summary) -> list[ObjectiveSummary]:
    """Objectives that are compared, without the references."""
    return [objective for objective in summary.objectives if not objective.reference]


def settings_lines(summary: Summary) -> list[list[str]]:
    """Lines of the settings: a name, and a value for each objective."""
    tuned = tuned_objectives(summary)
    keys = dict.fromkeys(key for objective in tuned for key in objective.best_settings)
    return [
        ["trial", *(objective.best_trial for objective in tuned)],
        *([key, *(setting(objective.best_settings.get(key)) for objective in tuned)] for key in keys),
        *([name, *(setting(each.signals[key]) for each in tuned)] for name, key in _figures(summary)),
    ]


def points_table(summary: Summary) -> Table:
    """Make a table of all trials: the values that set each apart, held-out metrics, and tracking errors."""
    own = [trial for trial in summary.trials if trial.objective not in REFERENCES]
    keys = list(dict.fromkeys(key for trial in own for key in trial.settings))
    headers = [*(setting_label(key) for key in keys), *metric_headers(summary), "H error", "KL error", "front"]
    front = () if summary.sweep is None else summary.sweep.front
    title = "Every point (•: on the Pareto front; at N: stopped early at step N)"
    table = make_table(title, "trial", headers, keep="first")
    for trial in summary.trials:
        table.add_row(
            trial.trial,
            *(setting(trial.settings.get(key)) if trial in own else DASH for key in keys),
            *(DASH if trial.held_out is None else fixed(trial.held_out[metric].value, 3) for metric in METRICS),
            percent(trial.entropy_error),
            percent(trial.kl_error),
            f"at {trial.stopped.step}" if trial.stopped else "•" if trial.trial in front else "",
            style="bold" if trial.trial in front else "",
        )
    return table


def _figures(summary: Summary) -> Iterator[tuple[str, str]]:
    """Name and key of the objectives' figures that have no column of their own."""
    for signal in signals.SIGNALS:
        if signal.key in _COLUMNS:
            continue
        name = f"{signal.label} ({signal.unit})" if signal.unit else signal.label
        match signal.summary:
            case "last":
                yield f"{name} at the end", f"best_{signal.key}"
            case "mean":
                yield f"{name}, mean of the last {summary.window} steps", f"best_{signal.key}"
            case "median":
                yield f"{name}, median", signal.key
