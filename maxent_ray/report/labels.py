"""What objectives and metrics are called, and coloured, wherever they are shown."""

from __future__ import annotations

from collections.abc import Mapping

_OBJECTIVES: Mapping[str, str] = {
    "analytic": "analytic",
    "truncated_backprop": "truncated backprop",
    "warm_start": "warm start",
    "grpo": "plain GRPO (β = 0)",
    "fixed": "fixed τ, β",
}
_COLOURS: Mapping[str, str] = {
    "analytic": "#0072B2",
    "truncated_backprop": "#D55E00",
    "fixed": "#009E73",
    "grpo": "#AA3377",
    "warm_start": "#6E6E6E",
}
"""Distinguishable with any of the common colour vision deficiencies (after Okabe & Ito, and Tol)."""
_UNKNOWN = "#56B4E9"


def objective_label(objective: str) -> str:
    """An objective in words.

    Example:
        >>> objective_label("grpo"), objective_label("my_own")
        ('plain GRPO (β = 0)', 'my own')
    """
    return _OBJECTIVES.get(objective, objective.replace("_", " "))


def objective_colour(objective: str) -> str:
    """The one colour of an objective."""
    return _COLOURS.get(objective, _UNKNOWN)


def metric_label(metric: str, samples: int) -> str:
    """A metric with its k.

    Example:
        >>> metric_label("pass_rate", 8)
        'pass@8'
    """
    stem = {"pass_rate": "pass", "reward": "mean"}.get(metric, metric)
    return f"{stem}@{samples}"
