"""Options of a client: the lag, and time limits for the other ranks and the controller's actor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from maxent_ray.core.numbers import exact_number, hold_exact_numbers
from maxent_ray.errors import ConfigError

WhenUnreachable = Literal["decide_locally", "raise"]


@dataclass(frozen=True)
class ClientOptions:
    """Lag, and time limits for the other ranks and the controller's actor.

    Raises:
        ConfigError: a value is out of range; the message names it.

    Example:
        >>> ClientOptions(lag=0).when_unreachable
        'decide_locally'
    """

    lag: int = 1
    """Coefficients of step s come from round s − 1 − lag: 0 waits for the round just reported, 1 overlaps the call with
    the next step."""
    timeout_s: float = 5.0
    """Seconds from a report until rank 0 stops waiting for the actor's decision: at most once an outage."""
    when_unreachable: WhenUnreachable = "decide_locally"
    """``decide_locally``: rank 0 runs the same function on the same state, so that no coefficient differs; or
    ``raise``, on all ranks."""
    round_timeout_s: float = 600.0
    """Seconds within which all other ranks get an error after one dies or hangs."""

    def __post_init__(self) -> None:
        """Check every field."""
        hold_exact_numbers(self)
        for name, valid in (("lag", (0, 1)), ("when_unreachable", get_args(WhenUnreachable))):
            value = getattr(self, name)
            if value not in valid:
                raise ConfigError(f"{name} is {value!r}; valid: {', '.join(map(str, valid))}")
        for name in ("timeout_s", "round_timeout_s"):
            value = getattr(self, name)
            if exact_number(value) is None or not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} is {value!r}; it must be finite and > 0 seconds")
        if self.timeout_s > self.round_timeout_s / 3:  # others wait while rank 0 waits for the actor
            limit = f"at most a third of round_timeout_s = {self.round_timeout_s}"
            raise ConfigError(f"timeout_s is {self.timeout_s}; it must be {limit} seconds")
