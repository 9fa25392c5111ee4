"""Base of the settings of a weighting, and the range of its coefficient τ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from maxent_ray.errors import ConfigError


class TauRange(NamedTuple):
    """Values that τ may have, as the coefficient of one weighting.

    Example:
        >>> TauRange(initial=0.3, low=1e-3).most
        inf
    """

    initial: float
    """τ at the start: the published value."""
    low: float
    """Lower bound of a τ that is moved, where settings name none; above 0, for steps in log space."""
    high: float = 100.0
    """Upper bound of a τ that is moved, where settings name none."""
    most: float = math.inf
    """Largest τ for which the formula has a meaning; the least is 0."""


@dataclass(frozen=True, kw_only=True)
class WeightingBase:
    """Base of the settings of a weighting.

    Example:
        >>> from maxent_ray.core.weightings import UCPOWeighting
        >>> UCPOWeighting().tau.initial, UCPOWeighting().has_weights
        (0.2, False)
    """

    tau: ClassVar[TauRange | None] = None
    """Range of its coefficient; None: it has none."""
    has_weights: ClassVar[bool] = False
    """True where groups have weights that sum to one, whose entropy is ``weight_entropy``."""
    uses_logprobs: ClassVar[bool] = False
    """True where coefficients depend on how likely the policy finds each answer."""

    type: str

    @property
    def reference_in_weights(self) -> bool:
        """True where w depends on the reference policy and on β: then β is a part of κ = τ + β."""
        return False

    def check(self, group_size: int | None) -> None:
        """Raise ConfigError for a value out of range.

        Args:
            group_size: G; None where it is not known.
        """


def require(holds: bool, name: str, value: object, valid: str) -> None:
    """Reject a setting of a weighting.

    Raises:
        ConfigError: ``holds`` is false; names field, value and range.

    Example:
        >>> require(False, "k", 0, ">= 1")
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: weighting.k is 0; it must be >= 1
    """
    if not holds:
        raise ConfigError(f"weighting.{name} is {value}; it must be {valid}")
