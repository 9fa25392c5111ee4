"""Ray for one command: join a cluster, or start a small one with its dashboard."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import ray
from ray.exceptions import RayError

from maxent_ray.cli.cluster_access import RAY_CLIENT, connection_advice, open_access
from maxent_ray.cli.cluster_options import AUTH_MODE, LOCAL, ClusterOptions
from maxent_ray.cli.results_page import ResultsPage
from maxent_ray.dashboard.addresses import LOOPBACK, is_loopback
from maxent_ray.dashboard.ray_token import TOKEN, TOKEN_FILE, TOKEN_PATH
from maxent_ray.errors import ResourceError

OBJECT_STORE_BYTES = 200 * 2**20
"""Rows and checkpoints of small policies pass through it; Ray's default would be a third of the memory."""
_TOKEN_LOGGER = "ray._private.authentication.authentication_token_setup"


@dataclass(frozen=True)
class Cluster:
    """Cluster that a command runs on."""

    started: bool
    """True when this process started it; it then ends with the process."""
    cpus: float
    gpus: float
    dashboard: str | None
    """Address of the dashboard, with its actual port; None where it does not run."""
    token_command: str | None
    """Command that prints the dashboard's token; None where it needs none."""
    dashboard_host: str = LOOPBACK
    """Host that the dashboard listens on, if this process started it."""
    machines: int = 1
    page: str | None = None
    """Address of the results page; None where there is none."""
    page_in_dashboard: bool = False
    """The dashboard shows it in its Metrics tab."""
    page_problem: str = ""
    """Reason that there is no page; empty if there is one."""

    def warnings(self) -> list[str]:
        """Warnings about access by others.

        Example:
            >>> Cluster(True, 2, 0, None, "cat ~/.ray/auth_token").warnings()
            []
            >>> for line in Cluster(True, 2, 0, None, "cat ~/.ray/auth_token", "0.0.0.0").warnings():
            ...     print(line)
            Warning: the dashboard listens on 0.0.0.0, not only for this machine: whoever has the token can run
            programs as you, and it travels unencrypted
        """
        lines = []
        if self.started and not is_loopback(self.dashboard_host):
            lines.append(
                f"Warning: the dashboard listens on {self.dashboard_host}, not only for this machine: whoever has the "
                "token can run programs as you, and it travels unencrypted"
            )
        if self.started and self.token_command is None:
            lines.append(
                f"Warning: token authentication is off ({AUTH_MODE}): whoever reaches this machine's ports can run "
                "programs as you"
            )
        if self.page_problem:
            lines.append(f"Warning: there is no results page ({self.page_problem}); the run goes on without it")
        return lines

    def describe(self) -> list[str]:
        """Lines for the user: resources, dashboard, and the command that prints its token.

        Example:
            >>> for line in Cluster(True, 2, 0, "http://127.0.0.1:8265", "cat ~/.ray/auth_token").describe():
            ...     print(line)
            Ray: started a local cluster with 2 CPUs and 0 GPUs
            Dashboard: http://127.0.0.1:8265
            It asks for a token; this prints yours: cat ~/.ray/auth_token
            >>> page = {"page": "http://127.0.0.1:8275", "page_in_dashboard": True}
            >>> print(Cluster(True, 2, 0, None, None, **page).describe()[-1])
            Results page: http://127.0.0.1:8275, also in the dashboard's Metrics tab
        """
        verb = "started a local cluster" if self.started else "joined a cluster"
        lines = [f"Ray: {verb} with {self.cpus:g} CPUs and {self.gpus:g} GPUs"]
        if self.dashboard is not None:
            lines.append(f"Dashboard: {self.dashboard}")
            if self.token_command is not None:
                lines.append(f"It asks for a token; this prints yours: {self.token_command}")
        if self.page is not None:
            place = ", also in the dashboard's Metrics tab" if self.page_in_dashboard else ""
            lines.append(f"Results page: {self.page}{place}")
        return lines


@contextmanager
def ray_cluster(options: ClusterOptions | None = None, results: Path | None = None) -> Iterator[Cluster]:
    """Connect to Ray for the duration of a command.

    Args:
        options: The cluster to join or start.
        results: Results that a page shows meanwhile; None for no page.

    Raises:
        ConfigError: the dashboard must not, or cannot, listen on ``options.dashboard_host``.
        ResourceError: there is no cluster at ``options.joined``.
    """
    options = options or ClusterOptions()
    options.check()
    if ray.is_initialized():
        yield _describe(started=False, dashboard=None)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger(_TOKEN_LOGGER).setLevel(logging.ERROR)  # our own lines have this
    host = options.dashboard_host or LOOPBACK
    page = ResultsPage(results, host)
    try:
        if options.joined is None:
            with page.in_new_cluster():
                dashboard = _start(host)
        else:
            dashboard = join(options.joined)
        cluster = _describe(started=options.joined is None, dashboard=dashboard, dashboard_host=host)
        yield replace(cluster, page=page.url, page_in_dashboard=page.in_dashboard, page_problem=page.problem)
    finally:
        page.close()
        ray.shutdown()


def _start(dashboard_host: str) -> str | None:
    # Workers' chatter would break the live table; it is in the session's logs.
    try:
        dashboard = ray.init(
            address=LOCAL,
            dashboard_host=dashboard_host,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.WARNING,
        ).dashboard_url
    except Exception as error:  # Ray raises that very class, for a machine that is too busy or has no room
        raise ResourceError(f"cannot start a Ray cluster: {error.args[0] if error.args else error}") from error
    _keep_token_private()
    return dashboard


def _keep_token_private() -> None:
    """Make the token file private: Ray writes it with the umask's permissions, readable by other users."""
    token = TOKEN_FILE.expanduser()
    if token.is_file() and token.stat().st_uid == os.getuid() and token.stat().st_mode & 0o077:
        token.chmod(0o600)


def join(address: str) -> str | None:
    """Join the cluster at ``address``; returns its dashboard's ``host:port``.

    Raises:
        ResourceError: there is none, it asks for a token that this process does not have, or it is of another version.
    """
    endpoint = address if address.startswith(RAY_CLIENT) else open_access(address)
    try:
        return ray.init(address=endpoint, log_to_driver=False, logging_level=logging.WARNING).dashboard_url
    except (OSError, ValueError, RuntimeError, RayError) as error:  # RuntimeError: the cluster runs another Python
        advice = connection_advice(address)
        raise ResourceError(f"cannot join the Ray cluster at {address!r} ({error}); {advice}") from None


def _describe(*, started: bool, dashboard: str | None, dashboard_host: str = LOOPBACK) -> Cluster:
    resources = ray.cluster_resources()
    return Cluster(
        started=started,
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        dashboard=f"http://{dashboard}" if dashboard else None,
        token_command=_token_command(),
        dashboard_host=dashboard_host,
        machines=sum(node["Alive"] for node in ray.nodes()),
    )


def _token_command() -> str | None:
    """Command that prints the token, if the cluster needs one (``RAY_AUTH_MODE=token``, Ray's default)."""
    if os.environ.get(AUTH_MODE, "").lower() != "token":
        return None
    if not any(name in os.environ for name in (TOKEN, TOKEN_PATH)) and TOKEN_FILE.expanduser().is_file():
        return f"cat {TOKEN_FILE}"
    return "ray get-auth-token"
