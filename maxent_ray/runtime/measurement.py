"""What one rank measured in one step, or why nothing of it can be used."""

from __future__ import annotations

from typing import NamedTuple

from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.reading import first_problem
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.errors import InvalidReportError
from maxent_ray.runtime.report_check import check_gradients, check_statistics


class Measurement(NamedTuple):
    """What can be sent of it: empty statistics and no gradients where ``void`` says why."""

    statistics: BatchStatistics
    gradients: ControllerGradients | None
    void: str
    refusal: InvalidReportError | None
    """The caller's fault, to be raised once the other ranks know that there is nothing."""


def usable(rank: int, step: int, statistics: BatchStatistics, gradients: ControllerGradients | None) -> Measurement:
    """Check a measurement. An unroll that diverged voids it too, but is nobody's fault.

    Example:
        >>> usable(0, 3, BatchStatistics(tokens=5), None).void
        ''
        >>> usable(0, 3, BatchStatistics(reward_sum=float("nan")), None).void
        'rank 0, step 3: statistics.reward_sum is nan; it must be a finite number'
    """
    divergence = _divergence(rank, step, gradients)
    refusal = _refusal(rank, step, statistics, None if divergence else gradients)
    void = str(refusal or divergence)
    if void:
        return Measurement(BatchStatistics(), None, void, refusal)
    return Measurement(statistics, gradients, "", None)


def _refusal(
    rank: int, step: int, statistics: BatchStatistics, gradients: ControllerGradients | None
) -> InvalidReportError | None:
    """What is wrong with a report of the caller's making."""
    try:
        check_statistics(rank, step, statistics)
        check_gradients(rank, step, gradients)
    except InvalidReportError as error:
        return error
    return None


def _divergence(rank: int, step: int, gradients: ControllerGradients | None) -> str:
    """Which number of an unroll left all bounds, empty when none did."""
    if type(gradients) is not ControllerGradients:
        return ""
    problem = first_problem(gradients, f"rank {rank}, step {step}: gradients")
    return str(problem.error()) if problem is not None and type(problem.value) is float else ""
