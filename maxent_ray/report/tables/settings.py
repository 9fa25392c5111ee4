"""Tables of settings: the best ones of each objective, and all points of a sweep."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from maxent_ray.core import signals
from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.report.formatting import DASH, fixed, percent, setting, significant
from maxent_ray.report.labels import REFERENCES, objective_label, setting_label
from maxent_ray.report.objective_summary import ObjectiveSummary
from maxent_ray.report.summary import Summary
from maxent_ray.report.tables.layout import make_table, metric_headers
from maxent_ray.report.trial_summary import TrialSummary

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


POINTS_TITLE = "Every point (•: on the Pareto front; at N: stopped early at step N)"


def points_table(summary: Summary) -> Table:
    """Make a table of all trials: the values that set each apart, held-out metrics, and tracking errors."""
    table = make_table(POINTS_TITLE, "trial", points_headers(summary)[1:], keep="first")
    front = _front(summary)
    for trial, line in zip(summary.trials, points_lines(summary), strict=True):
        table.add_row(*line, style="bold" if trial.trial in front else "")
    return table


def points_headers(summary: Summary) -> list[str]:
    """Headers of the table of points."""
    keys = (setting_label(key) for key in _searched(summary))
    return ["trial", *keys, *metric_headers(summary), "H error", "KL error", "front"]


def points_lines(summary: Summary) -> list[list[str]]:
    """Lines of the table of points, one for each trial."""
    keys, front = _searched(summary), _front(summary)
    return [
        [
            trial.trial,
            *(DASH if trial.objective in REFERENCES else setting(trial.settings.get(key)) for key in keys),
            *_values(summary, trial),
            percent(trial.entropy_error),
            percent(trial.kl_error),
            f"at {trial.stopped.step}" if trial.stopped else "•" if trial.trial in front else "",
        ]
        for trial in summary.trials
    ]


def _values(summary: Summary, trial: TrialSummary) -> list[str]:
    """Held-out metrics of a trial, or its score where nothing is held out."""
    if not summary.held_out_metrics:
        return [significant(trial.score)]
    return [DASH if trial.held_out is None else fixed(trial.held_out[metric].value, 3) for metric in METRICS]


def _searched(summary: Summary) -> list[str]:
    own = (trial for trial in summary.trials if trial.objective not in REFERENCES)
    return list(dict.fromkeys(key for trial in own for key in trial.settings))


def _front(summary: Summary) -> tuple[str, ...]:
    return () if summary.sweep is None else summary.sweep.front


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
