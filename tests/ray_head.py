"""A Ray head with its dashboard in processes of its own, for tests that submit to it as a user does."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.train.ray_train.faults import wait_until

ROOT = Path(__file__).resolve().parents[1]
RAY = str(Path(sys.executable).with_name("ray"))
_ANY_PORT = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "ray-client-server-port")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cluster_environment(**more: str) -> dict[str, str]:
    """Environment of a cluster and its clients: this package, no token, no usage statistics."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # a job's `python` is the first there
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        **more,
    }


@dataclass(frozen=True)
class RayHead:
    """A running head."""

    dashboard: str
    gcs: str


@contextmanager
def ray_head(environment: dict[str, str], cpus: int = 4) -> Iterator[RayHead]:
    """Start a head on free ports, and end its processes and no others.

    Args:
        environment: As of :func:`cluster_environment`.
        cpus: That it says it has.
    """
    temp = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # a short path: sockets are in it
    gcs, dashboard = free_port(), free_port()
    ports = [f"--{name}={free_port()}" for name in _ANY_PORT]
    command = [
        *(RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}"),
        *(f"--dashboard-port={dashboard}", f"--num-cpus={cpus}", "--object-store-memory=100000000"),
        *(f"--temp-dir={temp}", *ports),
    ]
    with (temp / "head.log").open("w") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{dashboard}"
            wait_until(lambda: head.poll() is not None or _answers(f"{address}/api/version"), "a dashboard")
            assert head.poll() is None, Path(log.name).read_text()
            yield RayHead(address, f"127.0.0.1:{gcs}")
        finally:
            head.terminate()
            with suppress(subprocess.TimeoutExpired):
                head.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(head.pid, signal.SIGKILL)
            head.wait()
            shutil.rmtree(temp, ignore_errors=True)  # its last processes may still write


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
