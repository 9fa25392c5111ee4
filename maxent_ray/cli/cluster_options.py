"""Options of a command's Ray cluster, and the checks of its dashboard's address."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import ray

from maxent_ray.dashboard.addresses import LOOPBACK, is_loopback
from maxent_ray.errors import ConfigError

LOCAL = "local"
AUTH_MODE = "RAY_AUTH_MODE"
"""Ray's own switch. Unless the user chose, Ray sets it to ``token`` for a cluster that it starts, and we have it do so
where a cluster that is joined asks for the user's token; see :mod:`maxent_ray.cli.cluster_access`."""


@dataclass(frozen=True)
class ClusterOptions:
    """Cluster to join, or dashboard of the cluster to start."""

    address: str | None = None
    """Of a cluster to join, as in ``RAY_ADDRESS`` (which ``ray job submit`` sets; ``auto`` finds one on this machine).
    None or ``local``, Ray's own name for it, starts one. If this process is connected to Ray, that cluster is used.
    """
    dashboard_host: str | None = None
    """Host that the dashboard of a started cluster listens on; None: the loopback address, for this machine alone."""

    @property
    def joined(self) -> str | None:
        """The address of the cluster to join; None where one is started.

        Example:
            >>> ClusterOptions("auto").joined, ClusterOptions("local").joined, ClusterOptions().joined
            ('auto', None, None)
        """
        return None if self.address == LOCAL else self.address

    def check(self) -> None:
        """Check that the dashboard can listen on its host, before anything starts.

        Raises:
            ConfigError: names ``--dashboard-host`` and its value.
        """
        host = self.dashboard_host
        if host is None:
            return
        if self.joined is not None or ray.is_initialized():
            there = f"the cluster at {self.joined!r}" if self.joined else "the cluster that this process uses"
            raise ConfigError(
                f"--dashboard-host is {host!r}, but {there} has its dashboard already; leave it out, or leave out "
                f"--ray-address (RAY_ADDRESS), or let it be {LOCAL}, to start a cluster"
            )
        if not is_loopback(host) and not token_required():
            raise ConfigError(
                f"--dashboard-host is {host!r} and {AUTH_MODE} is {os.environ[AUTH_MODE]!r}: whoever reaches that "
                f"address could run programs as you, without a token; unset {AUTH_MODE}, or let it be {LOOPBACK}"
            )
        try:
            family = socket.getaddrinfo(host, None)[0][0]
            socket.create_server((host, 0), family=family).close()
        except OSError as error:
            raise ConfigError(
                f"--dashboard-host is {host!r} ({error}); give an address of this machine, such as {LOOPBACK}, or "
                "0.0.0.0 for all of them"
            ) from None


def token_required() -> bool:
    """True when a cluster started now needs a token, which is the default."""
    return os.environ.get(AUTH_MODE, "token").lower() == "token"
