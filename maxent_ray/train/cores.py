"""Cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a container: microseconds of CPU time, or ``max``, in each period of so many microseconds."""


def usable_cores(quota: Path = _QUOTA) -> int:
    """Count the cores of the machine, of which a container or ``taskset`` may allow fewer.

    Args:
        quota: File of the container's limit; there is none on some systems.

    Example:
        >>> 1 <= usable_cores() <= os.cpu_count()
        True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed, period = quota.read_text().split() if quota.exists() else ("max", "0")
    return cores if allowed == "max" else max(1, min(cores, int(allowed) // int(period)))
