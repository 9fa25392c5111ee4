"""Weightings: from a group's rewards to the coefficients of its answers' log-probabilities in the policy loss.

This package itself holds the settings, which load no torch; :mod:`.coefficients` has the one function over all of them,
and each formula has a file of its own.
"""

from maxent_ray.core.weightings.base import TauRange, WeightingBase
from maxent_ray.core.weightings.settings import (
    EntropicWeighting,
    GRPOWeighting,
    ListwiseWeighting,
    MaxEntWeighting,
    PassAtKWeighting,
    RepoRWeighting,
    UCPOWeighting,
    UnlikelinessWeighting,
    Weighting,
)

__all__ = [
    "EntropicWeighting",
    "GRPOWeighting",
    "ListwiseWeighting",
    "MaxEntWeighting",
    "PassAtKWeighting",
    "RepoRWeighting",
    "TauRange",
    "UCPOWeighting",
    "UnlikelinessWeighting",
    "Weighting",
    "WeightingBase",
]
