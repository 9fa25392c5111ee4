"""Errors that crossed Ray, which wraps them in tracebacks: the cause's own class and sentence."""

from __future__ import annotations

import re
from typing import NamedTuple

from ray.exceptions import RayTaskError

from maxent_ray import errors
from maxent_ray.errors import MaxentRayError

LONGEST = 400
"""Characters of Ray's own words on a process that died; the cause comes first in them."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r'\s+(File ".*", line \d+|[\^~]+$)')
_RAISED = re.compile(r"([\w.]+)(?:: (.*))?", re.DOTALL)


class Cause(NamedTuple):
    """The error that another process raised first."""

    kind: type[MaxentRayError] | None
    """Its class; None where it is not one of ours."""
    message: str
    """Its whole message; of a foreign error with the name of its class."""

    @property
    def resumable(self) -> bool:
        """True where a resume may get past it."""
        return self.kind is None or self.kind.resumable


def cause_of(error: BaseException) -> Cause:
    r"""Cause of an error that may have crossed Ray, several times.

    Example:
        >>> cause_of(errors.TaskError("the task is empty"))
        Cause(kind=<class 'maxent_ray.errors.TaskError'>, message='the task is empty')
        >>> cause_of(KeyError("reward")).message
        "KeyError: 'reward'"
    """
    if isinstance(error, RayTaskError):
        return cause_of(error.cause)
    if isinstance(error, MaxentRayError):
        return Cause(type(error), str(error))
    if type(error).__module__.startswith("ray."):
        return cause_in(str(error))
    return Cause(None, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def cause_in(trace: str) -> Cause:
    r"""Cause in the text of a traceback: what follows the last frame. Ray's words on a process that died have none.

    Example:
        >>> frames = 'ray::Rank.setup()\n  File "x.py", line 1, in setup\n    load()\n    ^^^^^^\n'
        >>> cause_in(f"{frames}maxent_ray.errors.TaskError: the task is empty:\n  it has no prompts")
        Cause(kind=<class 'maxent_ray.errors.TaskError'>, message='the task is empty:\n  it has no prompts')
        >>> cause_in(f"{frames}RuntimeError: broken").message
        'RuntimeError: broken'
        >>> cause_in("The actor died unexpectedly.\n\tpid: 7\nIts process was killed.").message
        'The actor died unexpectedly. Its process was killed.'
    """
    lines = _COLOUR.sub("", trace).strip().splitlines()
    frames = [index for index, line in enumerate(lines) if _FRAME.match(line)]
    if not frames:
        told = " ".join(line for line in lines if not line[:1].isspace())
        return Cause(None, told if len(told) <= LONGEST else f"{told[:LONGEST]} …")
    rest = lines[frames[-1] + 1 :]
    begin = next((index for index, line in enumerate(rest) if not line[:1].isspace()), 0)
    text = "\n".join(rest[begin:]).strip()
    raised = _RAISED.fullmatch(text)
    module, _, name = raised[1].rpartition(".") if raised else ("", "", "")
    kind = vars(errors).get(name) if module == errors.__name__ else None
    if raised and isinstance(kind, type) and issubclass(kind, MaxentRayError):
        return Cause(kind, raised[2] or "")
    return Cause(None, text)
