"""Check of the installed Ray: RLlib's learners change with every release."""

from __future__ import annotations

import ray

from maxent_ray.errors import ConfigError

OLDEST_TESTED = (2, 60)
"""Oldest Ray that the learners were tested with."""


def check_ray_version(installed: str = ray.__version__) -> None:
    """Refuse a Ray that is older than those tested.

    Args:
        installed: Its version.

    Raises:
        ConfigError: it is too old.

    Example:
        >>> check_ray_version("2.9.3")
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: ray is 2.9.3; maxent_ray.rllib needs ray[rllib]>=2.60, the oldest tested
    """
    major, minor = (int(part) for part in installed.split(".")[:2])
    if (major, minor) < OLDEST_TESTED:
        needed = ".".join(map(str, OLDEST_TESTED))
        raise ConfigError(f"ray is {installed}; maxent_ray.rllib needs ray[rllib]>={needed}, the oldest tested")
