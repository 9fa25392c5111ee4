"""Signals and objectives as the page names, groups and colours them."""

from __future__ import annotations

from typing import Any

from maxent_ray.core import signals
from maxent_ray.dashboard.trial_rows import NAMES
from maxent_ray.report.labels import REFERENCES, objective_colour, objective_label

_LOG_SCALED = ("tau", "beta")


def describe_signals(training: str) -> list[dict[str, Any]]:
    """Every signal that has curves, of a kind of training."""
    return [
        {
            "name": signal.name,
            "label": signal.label,
            "unit": signal.unit,
            "description": signal.description,
            "scale": "log" if signal.name in _LOG_SCALED else "linear",
            "error_scale": signals.SCALES.get(signal.name),
            "target": target if (target := signals.target_of(signal.name)) in NAMES else None,
            "group": _group(signal),
        }
        for signal in signals.signals_of(training)
        if signal.over_ranks is not None
    ]


def _group(signal: signals.LoggedSignal) -> str:
    if signal.name.startswith("seconds") or signal.name == "version" or signal.summary == "total":
        return "cost"
    return "control" if signal.exporter == "decision" and not signal.plotted else "training"


def describe_objective(name: str) -> dict[str, Any]:
    """Name and colour of an objective, those of the plots."""
    return {
        "name": name,
        "label": objective_label(name),
        "colour": objective_colour(name),
        "reference": name in REFERENCES,
    }
