"""Decisions of the schedulers: who was cloned, and who was stopped early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Exploit:
    """One clone: recipient, donor, their scores and settings."""

    step: int
    recipient: str
    donor: str
    recipient_objective: str
    donor_objective: str
    new_objective: str
    score_recipient: float | None
    score_donor: float | None
    old: dict[str, Any]
    """The recipient's values before."""
    new: dict[str, Any]
    """Its values from now on: the donor's, perturbed."""
    operations: dict[str, str]
    """Perturbation of each of the donor's values."""


@dataclass(frozen=True)
class Rung:
    """One comparison of early stopping: a trial's score at a number of steps, and what it must reach to continue."""

    step: int
    trial: str
    objective: str
    rung: float
    """Policy steps at which trials are compared; ``step`` is the first report after them."""
    score: float
    cutoff: float | None
    """Of the scores of the objective's trials that were there before; None for the first."""
    stopped: bool
