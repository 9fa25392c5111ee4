"""The ``weighting`` section: a union on ``type``, of which ``maxent`` is the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from maxent_ray.config.dataclass_section import read_choice
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.field_types import shown
from maxent_ray.core.unions import members
from maxent_ray.core.weightings import Weighting
from maxent_ray.errors import ConfigError

WEIGHTINGS = members(ControllerConfig)["weighting"]
"""Type → settings; the first is the default."""


def read_weighting(values: object) -> Weighting:
    """Build the settings of an experiment's weighting.

    Args:
        values: A mapping of settings with a ``type``.

    Raises:
        ConfigError: a key is unknown, the ``type`` does not exist or a value is out of range; the message names the
            valid ones.

    Example:
        >>> read_weighting({"type": "pass_at_k", "k": 2}).k
        2
        >>> read_weighting({"type": "dapo"})
        Traceback (most recent call last):
        ...
        maxent_ray.errors.ConfigError: weighting.type is 'dapo'; valid: entropic, grpo, listwise, maxent, pass_at_k, \
repo_r, ucpo, unlikeliness
    """
    if isinstance(values, Mapping):
        values = read_choice("weighting", values, WEIGHTINGS, "weighting")
    if not isinstance(values, get_args(Weighting)):
        types = ", ".join(WEIGHTINGS)
        raise ConfigError(f"weighting is {shown(values)}; it must be a mapping of settings with a type: {types}")
    weighting: Weighting = values
    weighting.check(group_size=None)
    return weighting
