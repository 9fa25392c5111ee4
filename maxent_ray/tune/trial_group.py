"""Interface of the workers that a trial hosts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from maxent_ray.config import ExperimentConfig
from maxent_ray.runtime.run_tags import RunTags


class Serialisable(Protocol):
    """A step record, or held-out metrics."""

    def to_dict(self) -> dict[str, Any]:
        """Convert to values that JSON has."""


class TrialGroup(Protocol):
    """The workers of one run; :class:`~maxent_ray.train.worker_group.WorkerGroup` is one."""

    def run(self, steps: int) -> Sequence[Serialisable]:
        """Train; returns the records of all ranks in order."""

    def state_dict(self) -> bytes:
        """Serialise the state, without settings."""

    def load_state_dict(self, state: bytes) -> None:
        """Continue from a state."""

    def reset(self, config: ExperimentConfig, run_id: str, tags: RunTags) -> None:
        """Start another run with other settings."""

    def evaluate(self) -> Serialisable:
        """Compute held-out metrics."""

    def decisions(self, since_version: int) -> list[dict[str, Any]]:
        """List the controller's decisions after a version."""

    def close(self) -> None:
        """Release all resources."""
