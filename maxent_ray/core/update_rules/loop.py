"""The loop of one coefficient, as update rules need to know it: signal, bounds, gains."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

from maxent_ray.errors import ConfigError

Response: TypeAlias = Literal["fast", "slow", "auto"]
"""Time in which a signal answers to its coefficient: ``fast``, in the next batch or the same one; ``slow``, over many
policy steps; ``auto``, found out while training runs."""

DEFAULT_CLIPS = {"tau": 0.25, "beta": 1.0}
"""Largest relative error that τ and β act on, where ``clip`` is ``auto``."""
WIDE_CLIPS = {"tau": 1.0, "beta": 1.0}
"""The same, where gains are found out and are no larger than an error of 100 % allows."""


class Loop(NamedTuple):
    """The coefficient that a rule moves, and what it is measured by."""

    coefficient: str
    """``tau`` or ``beta``."""
    signal: str | None
    """The declared signal that it holds on target; None: there is none, and the coefficient is fixed."""
    low: float
    high: float
    """Its bounds."""
    response: Response = "slow"
    """Time in which the signal answers; ``auto``: the rule ``pi`` finds it out."""
    steps: int = 1
    """Training steps between two updates."""
    expected: Literal["fast", "slow"] = "slow"
    """The response by the signal's declaration, which ``auto`` starts from."""
    max_step_factor: float | None = None
    """Largest factor that one step in log space moves the coefficient by; None: any."""

    @property
    def raises(self) -> bool:
        """τ raises the entropy; β lowers the KL."""
        return self.coefficient == "tau"

    @property
    def field(self) -> str:
        """Name of the rule's settings, for messages."""
        return f"{self.coefficient}_rule"

    @property
    def response_field(self) -> str:
        """Name of the setting of its response, for messages."""
        return "entropy_response" if self.coefficient == "tau" else "kl_response"


class Gains(NamedTuple):
    """Step of one coefficient per unit of relative error."""

    integral: float
    """Per unit of error; the learning rate of rules other than ``pi``."""
    proportional: float
    """Per unit of change of the error; ``pi`` only."""


SLOW = Gains(integral=0.2, proportional=8.0)
"""For signals that answer over many policy steps: without a large proportional part the loop swings around its
target."""
SLOW_SMOOTHING = 0.8
"""Decay of the mean of errors that these gains act on: one batch measures KL with 15 to 20 % noise, and a large
proportional part would follow it."""
SLOW_CLIP = 0.5
"""Largest relative error that they act on: a KL that starts at 0 is braked once it is half way, and less is integrated
until then. At .35 the noise of one batch is cut on one side more than on the other, and KL settles 4 % high."""
FAST = {"tau": Gains(2.0, 0.0), "beta": Gains(0.2, 0.0)}
"""For signals that answer in the very next batch: an integrator alone, since with elasticity γ the loop rings at
γ·(k_i + 2·k_p) = 2."""


def is_positive(value: object) -> bool:
    """True for a positive finite number."""
    return isinstance(value, int | float) and 0 < value < math.inf


def require_setting(holds: bool, loop: Loop, name: str, value: object, valid: str) -> None:
    """Reject a setting of a loop's rule: raise ConfigError with field, value and valid range."""
    if not holds:
        raise ConfigError(f"{loop.field}.{name} is {value}; it must be {valid}")
