"""State of a client: an immutable snapshot of its run, and its form in checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from maxent_ray.core.controller import Controller
from maxent_ray.core.diagnostics.observer import ObserverState
from maxent_ray.core.state import Coefficients, ControllerState
from maxent_ray.core.validation import read_dataclass, to_plain
from maxent_ray.errors import InvalidReportError
from maxent_ray.runtime.decision_round import Round, state_text

RECENT_ROUNDS = 2
"""Rounds whose coefficients are kept; ``lag=1`` needs two."""


@dataclass(frozen=True)
class Snapshot:
    """A rank's view of its run; immutable, so that other threads read a consistent one."""

    state: str
    """The controller's state, as JSON."""
    step: int
    """The last decided step."""
    recent: tuple[Coefficients, ...]
    """Coefficients that the last rounds decided, the newest last; ``step`` is the round's."""
    pending: Round | None = None
    """The round of the next step, reduced and not decided yet."""
    observer: ObserverState = ObserverState()
    """Rank 0's; other ranks observe nothing."""

    @classmethod
    def of(cls, state: ControllerState) -> Snapshot:
        """Snapshot before the first round."""
        return cls(state_text(state), state.step, tuple(state.coefficients(step) for step in _recent_steps(state)))

    def decided(self, state: str, coefficients: Coefficients, observer: ObserverState) -> Snapshot:
        """Snapshot after the decision on the pending round."""
        recent = (*self.recent, coefficients)[-RECENT_ROUNDS:]
        return Snapshot(state, coefficients.step, recent, observer=observer)

    def to_dict(self, *, with_alarms: bool) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "state": json.loads(self.state),
            "recent_coefficients": [asdict(coefficients) for coefficients in self.recent],
            "pending": None if self.pending is None else to_plain(self.pending),
            "alarms": to_plain(self.observer) if with_alarms else None,
        }


@dataclass(frozen=True)
class _Saved:
    """Fields of :meth:`Snapshot.to_dict`."""

    state: ControllerState
    recent_coefficients: tuple[Coefficients, ...]
    pending: Round | None
    alarms: ObserverState | None


def read_snapshot(values: Mapping[str, Any], controller: Controller) -> Snapshot:
    """Inverse of :meth:`Snapshot.to_dict`, with τ and β brought inside the controller's bounds.

    Raises:
        InvalidReportError: an entry is missing, unknown, of another type or out of range; names it and its value.
    """
    saved = read_dataclass(_Saved, values, "client state")
    state = controller.adopt(saved.state)
    rounds = [coefficients.step for coefficients in saved.recent_coefficients]
    if rounds != _recent_steps(state):
        raise InvalidReportError(
            f"client state.recent_coefficients is of rounds {rounds}; it must be of the last {RECENT_ROUNDS} rounds "
            f"before step {state.step + 1}: {_recent_steps(state)}"
        )
    recent = tuple(_within_bounds(controller, state, each) for each in saved.recent_coefficients)
    return Snapshot(state_text(state), state.step, recent, saved.pending, saved.alarms or ObserverState())


def _recent_steps(state: ControllerState) -> list[int]:
    return list(range(state.step + 1 - RECENT_ROUNDS, state.step + 1))


def _within_bounds(controller: Controller, state: ControllerState, coefficients: Coefficients) -> Coefficients:
    allowed = controller.adopt(replace(state, tau=coefficients.tau, beta=coefficients.beta))
    return replace(coefficients, tau=allowed.tau, beta=allowed.beta)
