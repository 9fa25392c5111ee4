"""How a client talks to its controller: one frozen, checked value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from maxent_ray.errors import ConfigError
from maxent_ray.runtime.rounds import RoundPolicy

Reduction = Literal["actor", "collective"]
WhenUnreachable = Literal["hold", "local", "raise"]


@dataclass(frozen=True)
class ClientOptions:
    """How a client talks to its controller.

    Raises:
        ConfigError: a value is out of range; the message names it.
    """

    lag: int = 1
    """Coefficients of step s come from round s − 1 − lag: 0 waits for the round just reported, 1 overlaps
    the call with the next step."""
    reduction: Reduction = "actor"
    """``actor``: every rank reports. ``collective``: ranks merge by torch.distributed, rank 0 reports."""
    rounds: RoundPolicy = RoundPolicy()
    """What becomes of a round that a rank is missing from."""
    timeout_s: float = 30.0
    """Seconds within which a controller that is there answers; waiting for other ranks does not count."""
    retries: int = 6
    """Half a minute in all with this backoff: Ray takes a quarter of one to notice that the actor's node is gone."""
    backoff_s: float = 0.5
    """Seconds before the first retry; doubles with each further one."""
    when_unreachable: WhenUnreachable = "hold"
    """After the retries: ``hold`` the coefficients, step a ``local`` controller on this rank's statistics,
    or ``raise``."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name, valid in (
            ("lag", (0, 1)),
            ("reduction", get_args(Reduction)),
            ("when_unreachable", get_args(WhenUnreachable)),
        ):
            value = getattr(self, name)
            if value not in valid:
                raise ConfigError(f"{name} is {value!r}; valid: {', '.join(map(str, valid))}")
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ConfigError(f"timeout_s is {self.timeout_s}; it must be finite and > 0 seconds")
        if self.retries < 0:
            raise ConfigError(f"retries is {self.retries}; it must be >= 0")
        if not (math.isfinite(self.backoff_s) and self.backoff_s >= 0):
            raise ConfigError(f"backoff_s is {self.backoff_s}; it must be finite and >= 0 seconds")
