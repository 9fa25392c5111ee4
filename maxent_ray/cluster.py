"""Ray for one command: join the cluster that is there, or start a small one with its dashboard."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from maxent_ray.errors import ResourceError

OBJECT_STORE_BYTES = 200 * 2**20
"""Rows and checkpoints of small policies pass through it; Ray's default would be a third of the memory."""
CONNECT_TIMEOUT_S = 5.0
_TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_TOKEN_FILE = Path("~/.ray/auth_token")
_TOKEN_LOGGER = "ray._private.authentication.authentication_token_setup"


@dataclass(frozen=True)
class Cluster:
    """What a command runs on."""

    started: bool
    """Whether this process started it; it then ends with the process."""
    cpus: float
    gpus: float
    dashboard: str | None
    """Its address, with the port that it really got; None where it does not run."""
    token_command: str | None
    """Prints the token that the dashboard asks for; None when it asks for none."""

    def describe(self) -> list[str]:
        """What a user is told: what there is, where to look, and how to get in.

        Example:
            >>> for line in Cluster(True, 2, 0, "http://127.0.0.1:8265", "cat ~/.ray/auth_token").describe():
            ...     print(line)
            Ray: started a local cluster with 2 CPUs and 0 GPUs
            Dashboard: http://127.0.0.1:8265
            It asks for a token; this prints yours: cat ~/.ray/auth_token
        """
        verb = "started a local cluster" if self.started else "joined a cluster"
        lines = [f"Ray: {verb} with {self.cpus:g} CPUs and {self.gpus:g} GPUs"]
        if self.dashboard is not None:
            lines.append(f"Dashboard: {self.dashboard}")
            if self.token_command is not None:
                lines.append(f"It asks for a token; this prints yours: {self.token_command}")
        return lines


@contextmanager
def ray_cluster(address: str | None = None) -> Iterator[Cluster]:
    """Ray for the duration of a command.

    Args:
        address: Of a cluster to join, as in ``RAY_ADDRESS`` (which ``ray job submit`` sets; ``auto`` finds one
            on this machine). None starts a local one. Where this process uses Ray already, that is used, and
            stays.

    Raises:
        ResourceError: there is no cluster at ``address``.
    """
    if ray.is_initialized():
        yield _describe(started=False, dashboard=None)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger(_TOKEN_LOGGER).setLevel(logging.ERROR)  # our own lines say it
    dashboard = _start() if address is None else join(address)
    try:
        yield _describe(started=address is None, dashboard=dashboard)
    finally:
        ray.shutdown()


def _start() -> str | None:
    # Workers' chatter would break the live table; it is in the session's logs.
    return ray.init(
        address="local",
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.WARNING,
    ).dashboard_url


def join(address: str) -> str | None:
    """Join the cluster at ``address``; returns its dashboard's ``host:port``.

    Raises:
        ResourceError: there is none.
    """
    try:
        _probe(address)
        return ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING).dashboard_url
    except (OSError, ValueError) as error:
        raise ResourceError(
            f"no Ray cluster at {address!r} ({error}); unset RAY_ADDRESS to start a local one, or give the address "
            "that `ray start --head` printed, as 127.0.0.1:6379"
        ) from None


def _probe(address: str) -> None:
    """Knock at ``host:port``: Ray itself would try for minutes, and say so over and over.

    Raises:
        OSError: nobody answers.
        ValueError: it is the address of a dashboard.
    """
    if address.startswith(("http://", "https://")):
        raise ValueError("that is a dashboard's address, which only `ray job` takes")
    host, colon, port = address.rpartition(":")
    if colon and host and port.isdecimal() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()


def _describe(*, started: bool, dashboard: str | None) -> Cluster:
    resources = ray.cluster_resources()
    return Cluster(
        started=started,
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        dashboard=f"http://{dashboard}" if dashboard else None,
        token_command=_token_command(),
    )


def _token_command() -> str | None:
    """Ray sets ``RAY_AUTH_MODE=token`` for a cluster that it starts, unless the variable says otherwise."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return None
    if not any(name in os.environ for name in _TOKEN_VARIABLES) and _TOKEN_FILE.expanduser().is_file():
        return f"cat {_TOKEN_FILE}"
    return "ray get-auth-token"
