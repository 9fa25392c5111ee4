"""Installation of the dashboard's JSON in the folder that Grafana reads beside Ray's own dashboards."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from maxent_ray.dashboard.grafana.panels import UID
from maxent_ray.dashboard.grafana.reachability import grafana_state, prometheus_state
from maxent_ray.errors import ConfigError
from maxent_ray.storage.atomic import write_atomic

SHIPPED = Path(__file__).with_name("maxent_ray.json")
"""The dashboard, as :mod:`maxent_ray.dashboard.grafana.build` has written it."""
FOLDER_VARIABLE = "RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR"
"""Ray's environment variable for another folder of dashboards than the session's."""
_IN_SESSION = Path("metrics", "grafana", "dashboards")


@dataclass(frozen=True)
class InstalledPanels:
    """File of the installed dashboard."""

    path: Path
    replaced: tuple[Path, ...]
    """Other files with its identifier, which Grafana would refuse to load beside it; they were removed."""


def install_panels(folder: Path | None = None, environment: Mapping[str, str] = os.environ) -> InstalledPanels:
    """Install the dashboard; a running Grafana shows it within seconds. A second call brings it up to date.

    Args:
        folder: Folder of dashboards that Grafana reads; None for the one that Ray writes its own to: of the environment
            variable, else of the Ray cluster that runs on this machine.
        environment: Environment variables.

    Raises:
        ConfigError: there is no such folder, or several clusters run on this machine.
        RecordingError: the folder is not writable, or the disk is full; nothing was changed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     install_panels(Path(folder)).path.name
        'maxent_ray.json'
    """
    named = environment.get(FOLDER_VARIABLE)
    if folder is None:
        folder = Path(named) if named else running_session(ray_folder(environment)) / _IN_SESSION
    if not folder.is_dir():
        reason = f" ({FOLDER_VARIABLE})" if named and folder == Path(named) else ""
        raise ConfigError(f"{folder}{reason} is no folder; name the one that Grafana reads dashboards from")
    path = folder / SHIPPED.name
    write_atomic(path, SHIPPED.read_bytes())
    replaced = tuple(other for other in sorted(folder.glob("*.json")) if other != path and _uid(other) == UID)
    for other in replaced:
        other.unlink()
    return InstalledPanels(path, replaced)


def install_and_describe(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Install the dashboard; returns lines for the user: where it is, and whether Grafana and Prometheus answer.

    Raises:
        MaxentRayError: as :func:`install_panels`.
    """
    installed = install_panels(environment=environment)
    return [
        f"Grafana dashboard: {installed.path}",
        *(f"It takes the place of {path}, which had its identifier" for path in installed.replaced),
        _sentence(grafana_state(environment)),
        _sentence(prometheus_state(environment)),
    ]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def ray_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of Ray's sessions on this machine, unless ``ray start --temp-dir`` chose another."""
    return Path(environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp") / "ray"


def running_session(root: Path) -> Path:
    """Find the session of the one Ray cluster whose head runs on this machine.

    Raises:
        ConfigError: there is none, or there are several.
    """
    found = list(_running(root))
    otherwise = f"or set {FOLDER_VARIABLE} to the folder that Grafana reads dashboards from"
    if not found:
        raise ConfigError(
            f"no Ray cluster with a dashboard runs on this machine ({root} has no live session): run this where its "
            f"head runs, after `ray start --head`, {otherwise}"
        )
    if len(found) > 1:
        folders = ", ".join(str(session / _IN_SESSION) for session in found)
        raise ConfigError(
            f"{len(found)} Ray clusters run on this machine: end all but one, {otherwise}, such as one of {folders}"
        )
    return found[0]


def _running(root: Path) -> Iterator[Path]:
    """Sessions with a folder of dashboards whose raylet answers; those of the past stay on disk."""
    for session in sorted(root.glob("session_2*")):
        if (session / _IN_SESSION).is_dir() and any(map(_answers, session.glob("sockets/raylet*"))):
            yield session


def _answers(path: Path) -> bool:
    """True when a process listens at a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _uid(path: Path) -> str | None:
    """Identifier of a dashboard; None for any other file."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_bytes())
        return content.get("uid") if isinstance(content, dict) else None
    return None
