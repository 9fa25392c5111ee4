"""The last decisions, oldest first, with versions that only rise."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

SIZE = 1000
"""Decisions kept."""


class DecisionLog:
    """A bounded list of ``Decision.to_dict()``.

    Example:
        >>> log = DecisionLog({"version": version} for version in (1, 2, 3))
        >>> log.since(1), log.until(1), log.last
        ([{'version': 2}, {'version': 3}], [{'version': 1}], {'version': 3})
    """

    def __init__(self, decisions: Iterable[Mapping[str, Any]] = ()) -> None:
        self._decisions = deque((dict(decision) for decision in decisions), maxlen=SIZE)

    @property
    def last(self) -> dict[str, Any] | None:
        """The newest decision, None before the first."""
        return self._decisions[-1] if self._decisions else None

    def append(self, decision: Mapping[str, Any]) -> None:
        """Add the newest decision; the oldest goes when the log is full."""
        self._decisions.append(dict(decision))

    def since(self, version: int) -> list[dict[str, Any]]:
        """Decisions that led to a version above ``version``."""
        return [decision for decision in self._decisions if decision["version"] > version]

    def of_step(self, step: int) -> dict[str, Any] | None:
        """The decision on one step's round, None where it is not remembered."""
        return next((decision for decision in reversed(self._decisions) if decision["step"] == step), None)

    def until(self, version: int) -> list[dict[str, Any]]:
        """Decisions that led up to ``version``: what is left when a run goes back to it."""
        return [decision for decision in self._decisions if decision["version"] <= version]
