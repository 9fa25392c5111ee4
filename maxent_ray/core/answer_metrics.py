"""The metrics of k answers sampled for a prompt: declared here once, for held-out prompts and training groups alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ByMetric(Generic[T]):
    """One value for each metric: an average, the values of all prompts, an estimate with its interval.

    Example:
        >>> found = ByMetric(mean=0.5, pass_rate=1.0, distinct=2.0, coverage=0.4)
        >>> found["coverage"], found.coverage
        (0.4, 0.4)
    """

    mean: T = field(
        metadata={
            "label": "mean",
            "signal": "reward",
            "exported": "reward",
            "text": "Mean reward, 0 to 1 for built-in tasks",
        }
    )
    pass_rate: T = field(
        metadata={"label": "pass", "exported": "pass_ratio", "text": "Share of prompts with a correct answer"}
    )
    distinct: T = field(
        metadata={"exported": "distinct_modes", "text": "Distinct correct modes of a prompt, 0 to k"}
    )
    coverage: T = field(
        metadata={
            "exported": "coverage_ratio",
            "text": "Distinct correct modes over all modes; nan where a task lists none",
        }
    )

    def __getitem__(self, metric: str) -> T:
        """Value of a metric by its name.

        Raises:
            KeyError: there is no such metric.
        """
        if metric not in METRICS:
            raise KeyError(metric)
        value: T = getattr(self, metric)
        return value


METRICS = tuple(each.name for each in fields(ByMetric))
LABELS: Mapping[str, str] = {each.name: each.metadata.get("label", each.name) for each in fields(ByMetric)}
"""Metric → its name before ``@k``."""
DESCRIPTIONS: Mapping[str, str] = {each.name: each.metadata["text"] for each in fields(ByMetric)}
TRAINING_SIGNALS: Mapping[str, str] = {each.name: each.metadata.get("signal", each.name) for each in fields(ByMetric)}
"""Metric → the logged signal that has its values on training groups."""
EXPORTED: Mapping[str, str] = {each.name: each.metadata["exported"] for each in fields(ByMetric)}
"""Metric → its name in Prometheus, with its unit."""


def by_metric(value: Callable[[str], T]) -> ByMetric[T]:
    """Compute one value for each metric.

    Example:
        >>> by_metric(len)
        ByMetric(mean=4, pass_rate=9, distinct=8, coverage=8)
    """
    return ByMetric(*(value(metric) for metric in METRICS))
