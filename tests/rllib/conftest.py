"""Small algorithms on small environments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _cluster(ray_cluster: None) -> None:
    """RLlib starts a cluster of its own where there is none."""


@pytest.fixture
def built() -> Iterator[Any]:
    """Builds algorithms, and stops them."""
    algorithms = []

    def build(config: Any) -> Any:
        algorithms.append(config.build_algo())
        return algorithms[-1]

    yield build
    for each in algorithms:
        each.stop()
