"""Held-out metrics of runs, and differences between runs, with their intervals over prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from maxent_ray.core.answer_metrics import ByMetric, by_metric
from maxent_ray.evaluation.bootstrap import bootstrap_interval, paired_interval
from maxent_ray.evaluation.held_out import HeldOutMetrics


@dataclass(frozen=True)
class Estimate:
    """A mean over held-out prompts with its 95 % bootstrap interval; all None when the task cannot tell."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """True if the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


HeldOut: TypeAlias = ByMetric[Estimate]
"""Estimates of the metrics, or of differences of them."""


def estimate_metrics(runs: Sequence[HeldOutMetrics]) -> HeldOut:
    """Average the metrics over runs and prompts; the interval is over prompts, each averaged over the runs first.

    Example:
        >>> from maxent_ray.evaluation.held_out import PerPrompt
        >>> nan = float("nan")
        >>> prompts = PerPrompt(mean=(0.5, 0.5), pass_rate=(1, 1), distinct=(2, 2), coverage=(nan, nan))
        >>> found = estimate_metrics([HeldOutMetrics.of(prompts, samples=4)])
        >>> found.mean, found.coverage
        (Estimate(value=0.5, low=0.5, high=0.5), Estimate(value=None, low=None, high=None))
    """

    def estimate(metric: str) -> Estimate:
        tables = [run.per_prompt[metric] for run in runs]
        if len({len(table) for table in tables}) != 1:
            return Estimate()
        values = [sum(column) / len(column) for column in zip(*tables, strict=True)]
        if not all(math.isfinite(value) for value in values):
            return Estimate()
        low, high = bootstrap_interval(values)
        return Estimate(sum(values) / len(values), low, high)

    return by_metric(estimate)


def estimate_differences(run: HeldOutMetrics, baseline: HeldOutMetrics) -> HeldOut | None:
    """Subtract a baseline's metrics, paired over prompts; None when the numbers of prompts differ."""

    def estimate(metric: str) -> Estimate:
        a, b = run.per_prompt[metric], baseline.per_prompt[metric]
        if not all(math.isfinite(value) for value in (*a, *b)):
            return Estimate()
        low, high = paired_interval(a, b)
        return Estimate(sum(a) / len(a) - sum(b) / len(b), low, high)

    return by_metric(estimate) if run.prompts == baseline.prompts else None
