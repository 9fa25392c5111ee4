"""Measures of a sweep's points that are shown over the targets."""

from __future__ import annotations

from typing import NamedTuple

from maxent_ray.report.formatting import fixed, percent
from maxent_ray.report.summary import Summary


class Measure(NamedTuple):
    """One measure."""

    name: str
    """As :meth:`~maxent_ray.report.sweep_summary.SweepPoint.value` knows it."""
    label: str
    is_error: bool
    """Lower is better."""

    def text(self, value: float | None) -> str:
        """Write a value."""
        return percent(value) if self.is_error else fixed(value, 3)


def measures(summary: Summary) -> tuple[Measure, ...]:
    """List the measures, with the k of the run's held-out metrics."""
    return (
        Measure("entropy_error", "tracking error of H", True),
        Measure("kl_error", "tracking error of KL", True),
        *(Measure(metric, summary.held_out_metrics[metric], False) for metric in ("pass_rate", "coverage")),
    )
