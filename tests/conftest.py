"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One small local cluster for the whole session; ``local`` keeps it from joining a leftover one."""
    import ray

    # workers import tests/ and the package from where pytest runs
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        runtime_env={
            "env_vars": {"PYTHONPATH": os.getcwd(), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        },
    )
    yield
    ray.shutdown()


@pytest.fixture
def run_id() -> str:
    """A run id that no other test uses: actors are named after it."""
    return f"test-{uuid.uuid4().hex[:12]}"
