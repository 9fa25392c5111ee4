"""A round: the reports of one step. When it is complete, and what closes one that a rank is missing from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from maxent_ray.errors import ConfigError
from maxent_ray.runtime.protocol import Report

PolicyKind = Literal["wait", "quorum"]
WITHOUT_RANK = "without.rank_"
"""Event of a decision that a quorum made: followed by the number of a rank that was missing."""
WENT_ON = "went_on.rank_"
"""Event of a round that was not decided, because this rank went on without the controller before it was."""
_EXACT = 1e-9
"""0.7 × 10 ranks are 7, whatever floating point says."""


@dataclass(frozen=True)
class RoundPolicy:
    """What happens to a round that a rank has not reported to in time, because it died, hangs or is slow.

    ``wait`` never decides without a rank: every rank that did report gets an error that names the missing ones, and
    may ask again. ``quorum`` decides without the missing ranks where enough others have reported; later rounds do not
    wait for them until they report again.

    Raises:
        ConfigError: a value is out of range; the message names it.

    Example:
        >>> RoundPolicy("quorum", quorum_fraction=0.5).needed(world_size=5), RoundPolicy().needed(world_size=5)
        (3, 5)
    """

    kind: PolicyKind = "wait"
    timeout_s: float = 600.0
    """Seconds from a rank's report until it stops waiting for the others'."""
    quorum_fraction: float = 0.5
    """Smallest share of the ranks that ``quorum`` decides with."""

    def __post_init__(self) -> None:
        """Check every field."""
        if self.kind not in get_args(PolicyKind):
            raise ConfigError(f"round_policy is {self.kind!r}; valid: {', '.join(get_args(PolicyKind))}")
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ConfigError(f"round_timeout_s is {self.timeout_s}; it must be finite and > 0 seconds")
        if not 0 < self.quorum_fraction <= 1:
            raise ConfigError(f"quorum_fraction is {self.quorum_fraction}; it must be in (0, 1]")

    def needed(self, world_size: int) -> int:
        """Ranks that must have measured something for a round to be decided on."""
        return math.ceil(self.quorum_fraction * world_size - _EXACT) if self.kind == "quorum" else world_size


class OpenRounds:
    """The reports of rounds that are not closed yet.

    Args:
        world_size: Ranks that report.
        policy: When a round is complete.

    Example:
        >>> from maxent_ray.core.statistics import BatchStatistics
        >>> rounds = OpenRounds(3, RoundPolicy("quorum"))
        >>> [rounds.add(Report("run", rank, 7, BatchStatistics())) for rank in (0, 2, 2)]
        [True, True, False]
        >>> rounds.is_complete(7), rounds.missing(7)
        (False, [1])
        >>> rounds.do_without_missing(7), rounds.is_complete(7)
        (True, True)
    """

    def __init__(self, world_size: int, policy: RoundPolicy) -> None:
        self.world_size = world_size
        self.policy = policy
        self._reports: dict[int, dict[int, Report]] = {}
        self._absent: set[int] = set()
        self._gone_on: dict[int, int] = {}
        """Rank → the last step that it is past: what it has not reported until there it never will."""
        self._furthest_gone = -1

    def add(self, report: Report) -> bool:
        """Take a report; False if its rank had reported this step before."""
        self.heard_from(report.rank)
        reports = self._reports.setdefault(report.step, {})
        if report.rank in reports:
            return False
        reports[report.rank] = report
        return True

    def heard_from(self, rank: int) -> None:
        """Rounds wait for this rank again."""
        self._absent.discard(rank)

    def reports(self, step: int) -> list[Report]:
        """In rank order, so that floating-point sums repeat to the last bit."""
        return [report for _, report in sorted(self._reports.get(step, {}).items())]

    def missing(self, step: int) -> list[int]:
        """Ranks that have not reported."""
        return [rank for rank in range(self.world_size) if rank not in self._reports.get(step, {})]

    def went_on(self, rank: int, step: int) -> None:
        """A rank is past ``step``: what it has not reported until there, it was told or has decided alone."""
        self._gone_on[rank] = max(step, self._gone_on.get(rank, step))
        self._furthest_gone = max(step, self._furthest_gone)

    def gone_on(self, step: int) -> list[int]:
        """Ranks whose reports of a round will not come."""
        if step > self._furthest_gone:  # as nearly always, and asked at every report
            return []
        return [rank for rank in self.missing(step) if self._gone_on.get(rank, -1) >= step]

    def is_complete(self, step: int) -> bool:
        """Nobody is waited for, and there are reports enough to decide."""
        return self._count(step) >= self.policy.needed(self.world_size) and not self._waits(step)

    def is_lost(self, step: int) -> bool:
        """There will never be reports enough to decide, though there are ranks enough."""
        gone = len(self.gone_on(step))
        if gone == 0:
            return False
        needed, count = self.policy.needed(self.world_size), self._count(step)
        return self.world_size - gone < needed or (count < needed <= count + gone and not self._waits(step))

    def do_without_missing(self, step: int) -> bool:
        """Stop waiting for the ranks that this round lacks, where the policy allows it; whether it does."""
        absent = set(self.missing(step)) - set(self.gone_on(step))
        if self.policy.kind == "wait" or self.world_size - len(absent) < self.policy.needed(self.world_size):
            return False
        self._absent |= absent
        return True

    def _waits(self, step: int) -> bool:
        """Whether there is a rank to wait for."""
        gone = self.gone_on(step)
        if self.world_size - self._count(step) > len(self._absent) + len(gone):
            return True
        return bool(set(self.missing(step)) - self._absent - set(gone))

    def _count(self, step: int) -> int:
        return len(self._reports.get(step, {}))

    def drop_until(self, step: int) -> None:
        """Forget the rounds up to ``step``."""
        for known in [known for known in self._reports if known <= step]:
            del self._reports[known]
