"""Exit statuses of the commands; docs/reference/exit-status.md has the same list."""

from __future__ import annotations

from enum import IntEnum

from maxent_ray.errors import (
    ConfigError,
    HypergradientError,
    MaxentRayError,
    PolicyLoadError,
    ResourceError,
    ResumeError,
    TaskError,
)


class ExitStatus(IntEnum):
    """Outcome of a command.

    Example:
        >>> ExitStatus.of(ConfigError("train.steps is 0; it must be >= 1"))
        <ExitStatus.BAD_INPUT: 2>
    """

    SUCCESS = 0
    BUG = 1
    BAD_INPUT = 2
    TRIALS_FAILED = 3
    RUN_FAILED = 4
    INTERRUPTED = 130
    TERMINATED = 143

    @classmethod
    def of(cls, error: MaxentRayError) -> ExitStatus:
        """Status of a command that ends with an error of ours."""
        return cls.BAD_INPUT if isinstance(error, _BAD_INPUT) else cls.RUN_FAILED


_BAD_INPUT = (ConfigError, PolicyLoadError, TaskError, ResourceError, ResumeError, HypergradientError)
