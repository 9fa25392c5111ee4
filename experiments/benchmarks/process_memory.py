"""Resident memory of this process, on Linux."""

from __future__ import annotations

from pathlib import Path


def status_bytes(field: str) -> int:
    """Read a figure of the kernel: ``VmRSS``, the resident memory now, or ``VmHWM``, its peak.

    Not ``ru_maxrss``, which survives ``exec`` and would report the parent's peak.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}: memory is measured on Linux only")
