"""Rank 0's reply for all ranks: the decision on a round, or the error in its place, as text to broadcast."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from maxent_ray import errors
from maxent_ray.errors import ControllerError, MaxentRayError

LONGEST_DECISION, LONGEST_MESSAGE = 8192, 1000
"""Characters of a decision, and of an error's message."""


class Reply(NamedTuple):
    """A decided round."""

    answer: str
    """From :func:`~maxent_ray.runtime.decision_round.decide`."""
    decided_locally: bool
    """The actor could not be reached."""


def encode_reply(decide: Callable[[], Reply]) -> str:
    """Text of a reply. Raises nothing: the other ranks wait for the broadcast, so an error becomes part of the text.

    Args:
        decide: Waits for the reply.

    Returns:
        An error's name or nothing, "locally" or nothing, and the answer or the error's message, a line each.
    """
    try:
        reply = decide()
        if len(reply.answer) < LONGEST_DECISION:
            return f"\n{'locally' if reply.decided_locally else ''}\n{reply.answer}"
        raise ControllerError(f"a decision has {len(reply.answer)} characters; the limit is {LONGEST_DECISION}")
    except Exception as error:
        name, message = type(error).__name__, str(error)[:LONGEST_MESSAGE]
        return f"{name}\n\n{message}" if isinstance(error, MaxentRayError) else f"ControllerError\n\n{name}: {message}"


def decode_reply(text: str) -> Reply:
    r"""Inverse of :func:`encode_reply`.

    Raises:
        MaxentRayError: the error in the text, under its own class.

    Example:
        >>> decode_reply(encode_reply(lambda: Reply("state\ndecision", decided_locally=True)))
        Reply(answer='state\ndecision', decided_locally=True)
    """
    failure, locally, answer = text.split("\n", 2)
    if failure:
        raise vars(errors)[failure](answer)
    return Reply(answer, bool(locally))
