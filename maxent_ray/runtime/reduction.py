"""One step's reports, one from every rank, become one round: sums in rank order, and gradients of all ranks or of none.

Every rank sees all reports, so all form the same round, to the last bit, and find the same fault in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.field_types import LONGEST_TEXT
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.objectives.merging import merge_gradients
from maxent_ray.core.statistics import BatchStatistics, merge_all
from maxent_ray.core.validation import build_dataclass, find_violation, to_plain
from maxent_ray.errors import InvalidReportError
from maxent_ray.runtime.deciding import Round

UNUSABLE = "unusable: "
"""Begins the event of a round that moved nothing because of a rank whose numbers cannot be used; the reason follows."""
PARTIAL = "gradients.partial"
"""Event of a round whose gradients were left out because some ranks lacked them."""
REASONS_SHOWN = 3


@dataclass(frozen=True)
class Report:
    """One rank's report on one step."""

    step: int
    expected: int
    """The step that comes next in its controller's state."""
    state: int
    """Checksum of that state."""
    statistics: BatchStatistics = BatchStatistics()
    gradients: ControllerGradients | None = None
    unusable: str = ""
    """Reason why nothing of it can be used; then it is empty."""

    def to_text(self) -> str:
        """One line of JSON; every float keeps every bit."""
        return json.dumps(to_plain(self))

    @classmethod
    def from_text(cls, text: str) -> Report:
        """Inverse of :meth:`to_text`."""
        return build_dataclass(cls, json.loads(text))


def find_fault(
    where: str, statistics: BatchStatistics, gradients: ControllerGradients | None, config: ControllerConfig
) -> tuple[str, bool]:
    """Check what a rank reports: numbers come in here, and nowhere else.

    Returns:
        What is wrong with it, or nothing; and whether that is the caller's fault: an unroll that diverged is not.

    Example:
        >>> config = ControllerConfig(group_size=8, target_kl=0.05)
        >>> find_fault("rank 0, step 3: ", BatchStatistics(reward_sum=float("nan")), None, config)
        ('rank 0, step 3: statistics.reward_sum is nan; it must be a finite number', True)
    """
    sent = ("statistics", statistics, BatchStatistics), ("gradients", gradients, ControllerGradients)
    for name, value, kind in sent:
        if value is None and name == "gradients":
            return "", False
        if type(value) is not kind:
            return f"{where}{name} is a {type(value).__name__}; it must be {kind.__name__}", True
        violation = find_violation(value, f"{where}{name}")
        if violation is not None:
            return str(violation.error()), name == "statistics" or type(violation.value) is not float
    misfit = config.misfit(gradients.sensitivity) if gradients is not None else ""
    return (f"{where}gradients.sensitivity.{misfit}", True) if misfit else ("", False)


def merge_reports(reports: Sequence[Report]) -> Round:
    """Form the round of all ranks' reports.

    Args:
        reports: One a rank, in rank order: floating-point sums then repeat to the last bit.

    Raises:
        InvalidReportError: ranks report different steps, or not the next one, or hold different states.

    Example:
        >>> measured = [BatchStatistics(groups=1, weight_entropy_sum=h) for h in (1.0, 2.0)]
        >>> merge_reports([Report(0, 0, 0, shard) for shard in measured]).statistics.mean("weight_entropy")
        1.5
    """
    _check_alike(reports)
    reasons = [f"{UNUSABLE}{report.unusable}"[:LONGEST_TEXT] for report in reports if report.unusable]
    if reasons:
        more = (f"{UNUSABLE}{len(reasons) - REASONS_SHOWN} ranks more",) if len(reasons) > REASONS_SHOWN else ()
        return Round(None, events=(*reasons[:REASONS_SHOWN], *more))
    tokens = [report.statistics.tokens for report in reports]
    gradients, is_partial = merge_gradients([report.gradients for report in reports], tokens)
    return Round(merge_all(report.statistics for report in reports), gradients, (PARTIAL,) if is_partial else ())


def _check_alike(reports: Sequence[Report]) -> None:
    _check_equal("ranks are not in the same step", "reports step {}", [report.step for report in reports])
    different = "ranks hold controller states of different steps; load one state_dict() on all"
    _check_equal(different, "is to report step {} next", [report.expected for report in reports])
    if reports[0].step != reports[0].expected:
        raise InvalidReportError(
            f"step is {reports[0].step}; it must be {reports[0].expected}, the one after the last that was reported. "
            "To go on elsewhere, load the state of the step before"
        )
    different = "ranks hold different controller states of the same step; load one state_dict() on all"
    _check_equal(different, "has {:08x}", [report.state for report in reports])


def _check_equal(what: str, phrase: str, values: Sequence[int]) -> None:
    if len(set(values)) > 1:
        said = [f"rank {values.index(value)} {phrase.format(value)}" for value in sorted(set(values))]
        raise InvalidReportError(f"{what}: {', '.join(said)}")
