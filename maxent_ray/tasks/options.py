"""Settings of tasks whose prompts are data: the keys that ``task.kwargs`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maxent_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """Keys of ``task.kwargs`` for ``jsonl:PATH``.

    Example:
        >>> DatasetOptions(rewards=["math_verify"], reward_weights=[2.0]).weights
        (2.0,)
        >>> DatasetOptions(rewards=[])
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: rewards is []; it must name at least one function
    """

    rewards: list[str]
    """Reward functions: import paths ``module:function``, or ``math_verify``."""
    reward_weights: list[float] | None = None
    """One for each reward; None: 1 each."""
    prompt: str = "prompt"
    """Column of the prompts: texts, or lists of messages with ``role`` and ``content``."""
    correct_above: float = 0.0
    """An answer is correct when its reward is more than this: for pass@k and distinct@k."""
    time_limit_s: float = 60.0
    """Longest time of one reward function for one batch (seconds)."""

    def __post_init__(self) -> None:
        if not self.rewards:
            raise ConfigError(f"rewards is {list(self.rewards)}; it must name at least one function")
        if self.reward_weights is not None and len(self.reward_weights) != len(self.rewards):
            each = f"one for each of {len(self.rewards)} rewards"
            raise ConfigError(f"reward_weights is {list(self.reward_weights)}; it must have {each}")
        if not 0 < self.time_limit_s < float("inf"):
            raise ConfigError(f"time_limit_s is {self.time_limit_s}; it must be > 0")

    @property
    def weights(self) -> Sequence[float]:
        """One for each reward."""
        return tuple(self.reward_weights or [1.0] * len(self.rewards))


@dataclass(frozen=True, kw_only=True)
class HubOptions(DatasetOptions):
    """Keys of ``task.kwargs`` for ``hf:PATH-or-name``: those of ``jsonl:PATH``, and which part of the data to take."""

    split: str = "train"
    """Split of the data, as the library ``datasets`` names it."""
    subset: str | None = None
    """Configuration of a data set that has several, as ``main``."""
