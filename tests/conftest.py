"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import S3Server, s3_server
from tests.shapes import enforce_shapes

ROOT = Path(__file__).resolve().parents[1]
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a background job; commands under test inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads: on small tensors a second thread only waits
enforce_shapes()  # before anything of the package loads


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One small local cluster for the whole session; ``local`` keeps it from joining a leftover one."""
    import ray

    with pytest.MonkeyPatch.context() as patch:  # Ray's processes inherit it: cheaper than a runtime environment
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_worker_niceness", "0")  # by default workers get what any neighbour leaves of a core
        patch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # for nodes that a cloud takes back: none here
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            log_to_driver=False,
        )
        yield
        ray.shutdown()


@pytest.fixture
def run_id() -> str:
    """A run id that no other test uses: actors are named after it."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def s3() -> Iterator[S3Server]:
    """A local S3 server with one bucket."""
    with s3_server() as server:
        yield server
