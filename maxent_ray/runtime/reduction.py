"""Reduction of one step's reports over the ranks: sums in rank order, and gradients of all ranks or of none.

Every rank has all reports, so all form the same round, to the last bit, and raise the same error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.field_types import LONGEST_TEXT
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.objectives.merging import RankWeights, merge_gradients
from maxent_ray.core.report_checks import misfit, missing_signal
from maxent_ray.core.statistics import BatchStatistics, merge_all
from maxent_ray.core.validation import build_dataclass, find_violation, to_plain
from maxent_ray.errors import InvalidReportError
from maxent_ray.runtime.decision_round import Round

UNUSABLE = "unusable: "
"""Prefix of the event of a round that moved nothing because a rank's numbers are unusable; the reason follows."""
PARTIAL = "gradients.partial"
"""Event of a round whose gradients were left out because some ranks lacked them."""
REASONS_SHOWN = 3


@dataclass(frozen=True)
class Report:
    """One rank's report on one step."""

    step: int
    expected: int
    """The step after the last one in this rank's controller state."""
    state: int
    """Checksum of that state."""
    statistics: BatchStatistics = BatchStatistics()
    gradients: ControllerGradients | None = None
    invalid_reason: str = ""
    """Field and value that make the report unusable; its statistics and gradients are then left out."""

    def to_text(self) -> str:
        """One line of JSON; every float keeps every bit."""
        return json.dumps(to_plain(self))

    @classmethod
    def from_text(cls, text: str) -> Report:
        """Inverse of :meth:`to_text`."""
        return build_dataclass(cls, json.loads(text))


class Rejection(NamedTuple):
    """Reason that makes a report unusable."""

    message: str
    is_callers_fault: bool
    """False for an unroll that diverged."""


def check_report(
    where: str, statistics: BatchStatistics, gradients: ControllerGradients | None, config: ControllerConfig
) -> Rejection | None:
    """Validate a rank's measurements; the only place where numbers enter the runtime.

    Args:
        where: Begins the message.
        statistics: Of the rank's share of the batch.
        gradients: Of the rank's unroll.
        config: The controller's settings.

    Returns:
        The first violation, None when all values are usable.

    Example:
        >>> config = ControllerConfig(group_size=8, target_kl=0.05)
        >>> check_report("rank 0, step 3: ", BatchStatistics(reward_sum=float("nan")), None, config).message
        'rank 0, step 3: statistics.reward_sum is nan; it must be a finite number'
    """
    sent = ("statistics", statistics, BatchStatistics), ("gradients", gradients, ControllerGradients)
    for name, value, kind in sent:
        if value is None and name == "gradients":
            return None
        if type(value) is not kind:
            return Rejection(f"{where}{name} is a {type(value).__name__}; it must be {kind.__name__}", True)
        found = find_violation(value, f"{where}{name}")
        if found is not None:
            return Rejection(str(found.error()), name == "statistics" or type(found.value) is not float)
    found_misfit = misfit(config, gradients.sensitivity) if gradients is not None else ""
    return Rejection(f"{where}gradients.sensitivity.{found_misfit}", True) if found_misfit else None


def merge_reports(reports: Sequence[Report], config: ControllerConfig) -> Round:
    """Merge all ranks' reports into one round.

    Args:
        reports: One a rank, in rank order, so that floating-point sums repeat to the last bit.
        config: The controller's settings, which name the signals.

    Raises:
        InvalidReportError: ranks report different steps, a step that is not the next one, or hold different states; or
            their batch was not measured for a signal that has a target.

    Example:
        >>> measured = [BatchStatistics(groups=1, weight_entropy_sum=h) for h in (1.0, 2.0)]
        >>> config = ControllerConfig(group_size=8, target_entropy=1.9)
        >>> merge_reports([Report(0, 0, 0, shard) for shard in measured], config).statistics.mean("weight_entropy")
        1.5
    """
    _check_alike(reports)
    reasons = [f"{UNUSABLE}{report.invalid_reason}"[:LONGEST_TEXT] for report in reports if report.invalid_reason]
    if reasons:
        more = (f"{UNUSABLE}{len(reasons) - REASONS_SHOWN} more ranks",) if len(reasons) > REASONS_SHOWN else ()
        return Round(None, events=(*reasons[:REASONS_SHOWN], *more))
    statistics = merge_all(report.statistics for report in reports)
    missing = missing_signal(config, statistics)
    if missing:
        raise InvalidReportError(f"step {reports[0].step}: {missing}")
    weights = [_weights(report, config) for report in reports]
    gradients, is_partial = merge_gradients([report.gradients for report in reports], weights)
    return Round(statistics, gradients, (PARTIAL,) if is_partial else ())


def _weights(report: Report, config: ControllerConfig) -> RankWeights:
    """Groups or tokens that a rank's signals are means over; of an unroll, the tokens are those that it unrolled."""
    statistics, gradients = report.statistics, report.gradients
    if gradients is not None and gradients.sensitivity is not None:
        statistics = replace(statistics, tokens=gradients.sensitivity.tokens)
    entropy = statistics.count(config.entropy_signal)
    return RankWeights(entropy, entropy if config.kl_signal is None else statistics.count(config.kl_signal))


def _check_alike(reports: Sequence[Report]) -> None:
    _check_equal("ranks are not in the same step", "reports step {}", [report.step for report in reports])
    different = "ranks hold controller states of different steps; load one state_dict() on all"
    _check_equal(different, "is to report step {} next", [report.expected for report in reports])
    if reports[0].step != reports[0].expected:
        raise InvalidReportError(
            f"step is {reports[0].step}; it must be {reports[0].expected}, the one after the last that was reported. "
            "To resume at another step, load the state of the step before it"
        )
    different = "ranks hold different controller states of the same step; load one state_dict() on all"
    _check_equal(different, "has {:08x}", [report.state for report in reports])


def _check_equal(message: str, phrase: str, values: Sequence[int]) -> None:
    if len(set(values)) > 1:
        found = [f"rank {values.index(value)} {phrase.format(value)}" for value in sorted(set(values))]
        raise InvalidReportError(f"{message}: {', '.join(found)}")
