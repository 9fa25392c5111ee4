"""Names and colours of objectives and metrics, wherever they are shown."""

from __future__ import annotations

from typing import NamedTuple

from maxent_ray.core.answer_metrics import LABELS

WARM_START, GRPO, FIXED, RLLIB = REFERENCES = ("warm_start", "grpo", "fixed", "rllib")
"""Runs that objectives are compared with: the untrained policy, plain GRPO (β = 0), fixed τ and β, RLlib's own rule."""
BASELINE = GRPO
"""Reference that all others are paired with."""


class _Look(NamedTuple):
    label: str
    colour: str


_LOOKS = {
    "analytic": _Look("analytic", "#0072B2"),
    "truncated_backprop": _Look("truncated backprop", "#D55E00"),
    WARM_START: _Look("warm start", "#6E6E6E"),
    GRPO: _Look("plain GRPO (β = 0)", "#AA3377"),
    FIXED: _Look("fixed τ, β", "#009E73"),
    RLLIB: _Look("RLlib's own rule", "#AA3377"),
}
"""In the order of the tables; colours, after Okabe & Ito and Tol, differ with the common colour vision deficiencies."""
_OWN_COLOUR = "#56B4E9"


def objective_label(objective: str) -> str:
    """Name an objective in words; of an import path the part behind the colon.

    Example:
        >>> objective_label("grpo"), objective_label("my_own"), objective_label("my_package:Mine")
        ('plain GRPO (β = 0)', 'my own', 'Mine')
    """
    return _LOOKS[objective].label if objective in _LOOKS else objective.rpartition(":")[2].replace("_", " ")


_SETTINGS = {
    "controller.target_entropy": "H*",
    "controller.target_entropy_fraction": "H*/log G",
    "controller.target_kl": "KL*",
    "controller.tau_rule": "rule of τ",
    "controller.beta_rule": "rule of β",
}


def setting_label(key: str) -> str:
    """Name a setting in short; one without a symbol by the end of its key.

    Example:
        >>> setting_label("controller.target_kl"), setting_label("grpo.learning_rate")
        ('KL*', 'learning_rate')
    """
    return _SETTINGS.get(key, key.rpartition(".")[2])


def objective_colour(objective: str) -> str:
    """Colour of an objective, the same in all plots."""
    return _LOOKS[objective].colour if objective in _LOOKS else _OWN_COLOUR


def objective_order(objective: str) -> tuple[bool, int, str]:
    """Sort key: our objectives, those of users, references.

    Example:
        >>> sorted(["grpo", "my_own", "warm_start", "analytic"], key=objective_order)
        ['analytic', 'my_own', 'warm_start', 'grpo']
    """
    place = list(_LOOKS).index(objective) if objective in _LOOKS else len(_LOOKS)
    return objective in REFERENCES, place, objective


def metric_label(metric: str, samples: int) -> str:
    """Name a metric with its k.

    Example:
        >>> metric_label("pass_rate", 8)
        'pass@8'
    """
    return f"{LABELS[metric]}@{samples}"
