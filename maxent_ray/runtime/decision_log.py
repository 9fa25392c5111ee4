"""Last decisions of a controller with their alarms, as plain values."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from maxent_ray.core.diagnostics.alarms import Alarm
from maxent_ray.core.state import Decision

DECISIONS_KEPT = 1000

logger = logging.getLogger(__name__)


class DecisionLog:
    """The last 1000 decisions, oldest first. Other threads may read while one adds."""

    def __init__(self) -> None:
        self._kept: deque[dict[str, Any]] = deque(maxlen=DECISIONS_KEPT)

    @property
    def last(self) -> dict[str, Any] | None:
        """The newest decision, None before the first."""
        kept = self._kept  # another thread may replace it
        return kept[-1] if kept else None

    def since(self, version: int) -> list[dict[str, Any]]:
        """Decisions with a version above ``version``, oldest first."""
        return [decision for decision in list(self._kept) if decision["version"] > version]

    def add(self, decision: Decision, alarms: Sequence[Alarm]) -> None:
        """Keep a decision; its alarms are logged as warnings."""
        for alarm in alarms:
            logger.warning("step %d: %s [%s]", decision.step, alarm.message, alarm.kind)
        self._kept.append({**decision.to_dict(), "alarms": [asdict(alarm) for alarm in alarms]})

    def forget_after(self, version: int) -> None:
        """Drop the decisions after ``version``, as when an older state is loaded."""
        self._kept = deque([each for each in self._kept if each["version"] <= version], DECISIONS_KEPT)
