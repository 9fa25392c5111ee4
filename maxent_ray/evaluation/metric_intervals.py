"""Held-out metrics with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from maxent_ray.evaluation.bootstrap import Interval, bootstrap_interval
from maxent_ray.evaluation.held_out import HeldOutMetrics


@dataclass(frozen=True)
class Measured:
    """A held-out metric with its 95 % bootstrap interval over prompts; None where the task cannot tell."""

    value: float | None
    interval: Interval | None


def measured(metrics: HeldOutMetrics) -> dict[str, Measured]:
    """The four metrics by name: mean, pass_rate, distinct and coverage.

    Example:
        >>> from maxent_ray.evaluation.held_out import PerPrompt
        >>> nan = float("nan")
        >>> prompts = PerPrompt(mean=(0.5, 0.5), pass_rate=(1, 1), distinct=(2, 2), coverage=(nan, nan))
        >>> measured(HeldOutMetrics.of(prompts, samples=4))["mean"]
        Measured(value=0.5, interval=Interval(low=0.5, high=0.5))
        >>> measured(HeldOutMetrics.of(prompts, samples=4))["coverage"]
        Measured(value=None, interval=None)
    """
    prompts = metrics.per_prompt
    values = {
        "mean": (metrics.mean, prompts.mean),
        "pass_rate": (metrics.pass_rate, prompts.pass_rate),
        "distinct": (metrics.distinct, prompts.distinct),
        "coverage": (metrics.coverage, prompts.coverage),
    }
    return {
        name: Measured(value, bootstrap_interval(each)) if math.isfinite(value) else Measured(None, None)
        for name, (value, each) in values.items()
    }
