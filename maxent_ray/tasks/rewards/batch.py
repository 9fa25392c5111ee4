"""One batch of answers, as reward functions get it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from maxent_ray.core.field_types import shown

READY = b"ready"
"""First message of the process of reward functions."""


class RewardBatch(NamedTuple):
    """N answers, with what they answer.

    Example:
        >>> batch = RewardBatch(["1+1="], ["2"], {"answer": [2]}, ["1+1="])
        >>> batch.describe(0)
        "an answer to prompt '1+1=' (columns: answer=2)"
        >>> batch.whole()
        "1 answer, the first to prompt '1+1=' (columns: answer)"
    """

    prompts: Sequence[Any]
    """N prompts: texts, or lists of messages."""
    completions: Sequence[Any]
    """N answers: texts, or lists of one message of the assistant."""
    columns: Mapping[str, Sequence[Any]]
    """Column of the data → its N values."""
    asked: Sequence[str]
    """The N prompts as texts, for messages."""

    def describe(self, row: int) -> str:
        """One answer's prompt and columns, for a message."""
        values = ", ".join(f"{name}={shown(values[row])}" for name, values in self.columns.items())
        return f"an answer to prompt {shown(self.asked[row])} (columns: {values or 'none'})"

    def whole(self) -> str:
        """The batch, for a message."""
        answers = f"{len(self.asked)} answer{'s' if len(self.asked) > 1 else ''}"
        return f"{answers}, the first to prompt {shown(self.asked[0])} (columns: {', '.join(self.columns) or 'none'})"
