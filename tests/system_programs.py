"""Programs of the operating system that some tests need, such as a browser."""

from __future__ import annotations

import os
import shutil

import pytest

REQUIRED = "MAXENT_RAY_REQUIRE_PROGRAMS"
"""Environment variable, set where all of them are installed (CI): a missing program then fails its tests."""


def find_program(name: str) -> str:
    """Path of a program; its test is skipped where it is not installed."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None and os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{name} is not installed, and {REQUIRED} is set")
    if path is None:
        pytest.skip(f"{name} is not installed; on Debian: apt install {name}")
    return path
