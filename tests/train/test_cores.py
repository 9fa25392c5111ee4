from __future__ import annotations

import os
from pathlib import Path

import pytest

from maxent_ray.train.cores import usable_cores

AVAILABLE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", AVAILABLE),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("199999 100000", 1),
        ("640000000 100000", AVAILABLE),
    ],
)
def test_a_container_s_limit(limit: str, cores: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(f"{limit}\n")
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_without_a_container(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none") == AVAILABLE
