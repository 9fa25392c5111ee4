"""Runs whose results are at a URI: they work in a local folder, which is mirrored there."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from rich.text import Text

from maxent_ray.cli.run_location import RunLocation
from maxent_ray.cli.transfer_lines import TransferLines
from maxent_ray.errors import ConfigError, MaxentRayError, ResumeError
from maxent_ray.report.output import make_console
from maxent_ray.storage.atomic import remove
from maxent_ray.storage.fetching import fetch
from maxent_ray.storage.locations import join_uri, parse_location, split_uri
from maxent_ray.storage.mirror import Mirror, MirrorState
from maxent_ray.storage.remote_folder import RemoteFolder
from maxent_ray.storage.remote_lock import RemoteLock
from maxent_ray.storage.run_files import CONFIG
from maxent_ray.storage.snapshot import list_files

WORK_FOLDER = "MAXENT_RAY_WORK_FOLDER"
"""Environment variable: where runs whose results are at a URI work; with several machines, a folder all of them see."""
_DEFAULT_WORK_FOLDER = "~/.cache/maxent_ray/runs"


@contextmanager
def run_location(name: str, results: str, resume: str | None) -> Iterator[RunLocation]:
    """Locate a run's folder: as named, or, for a URI, a local one that is mirrored there during the block.

    Args:
        name: Name of a new run.
        results: Value of ``--results``.
        resume: Value of ``--resume``.

    Raises:
        ConfigError: the URI cannot be used.
        ResumeError: there is a run at the URI of a new one, none to resume, or another driver is at work there.
        RecordingError: (at the end) the results could not be uploaded.
    """
    place = parse_location(results, "--results") if resume is None else parse_location(resume, "--resume")
    if isinstance(place, Path):
        yield RunLocation.of(name, place, place if resume is not None else None)
        return
    uri = place if resume is not None else join_uri(place, name)
    with _mirrored(uri, resume=resume is not None) as location, _naming_uri(location):
        yield location


def work_folder(uri: str) -> Path:
    """Local folder that a run works in; the same for the same URI.

    Example:
        >>> folder = work_folder("s3://bucket/results/mine")
        >>> folder.name, folder.parent.name
        ('mine', 's3-bucket-results-3333f854')
    """
    parent, name = split_uri(uri)
    parts = urlsplit(parent)
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{parts.scheme}-{parts.netloc}{parts.path}")[:60]
    digest = hashlib.sha256(parent.encode()).hexdigest()[:8]
    return Path(os.environ.get(WORK_FOLDER) or _DEFAULT_WORK_FOLDER).expanduser() / f"{readable}-{digest}" / name


def check_machines(uri: str | None, machines: int) -> None:
    """Check that all machines of a cluster can write into the folder that a run with a URI works in.

    Raises:
        ConfigError: there are several, and the folder is one of this machine alone.
    """
    if uri is not None and machines > 1 and not os.environ.get(WORK_FOLDER):
        raise ConfigError(
            f"{uri}: the cluster has {machines} machines, and a run works in a folder that all of them see; name one "
            f"in {WORK_FOLDER}, from where the results are uploaded"
        )


@contextmanager
def _mirrored(uri: str, *, resume: bool) -> Iterator[RunLocation]:
    """Open the URI, bring a run to resume here, and mirror the folder."""
    folder = work_folder(uri)
    remote = RemoteFolder.open(uri)
    _check(remote, resume=resume)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with RemoteLock(remote) as lock:
        try:
            if resume:
                _bring(remote, folder, lock)
            else:
                _set_aside(folder)
            with Mirror(folder, remote, lock, TransferLines("Uploaded", uri)) as mirror:
                yield RunLocation(folder.name, folder.parent, resume, uri)
            again = f"; {mirror.failures} upload(s) failed on the way and were repeated" if mirror.failures else ""
            make_console().print(Text(f"Uploaded to {uri}{again}."), soft_wrap=True)
        finally:
            if not resume and not folder.exists():
                lock.forget()


def _check(remote: RemoteFolder, *, resume: bool) -> None:
    has_run = remote.find(CONFIG) is not None
    if has_run and not resume:
        raise ResumeError(f"{remote.uri} exists: resume its run (--resume '{remote.uri}') or choose another --name")
    if resume and not has_run:
        raise ResumeError(
            f"cannot resume {remote.uri}: it holds no run (it has no {CONFIG}); list what there is with: maxent-ray "
            f"results list '{split_uri(remote.uri)[0]}'"
        )


def _bring(remote: RemoteFolder, folder: Path, lock: RemoteLock) -> None:
    """Bring a run to resume here, unless its last driver has left here more than it could upload."""
    state = MirrorState(folder)
    if folder.is_dir() and not state.whole and state.driver == lock.before:
        console = make_console()
        console.print(Text(f"Continuing from {folder}: it has more than could be uploaded."), soft_wrap=True)
        return
    _set_aside(folder)
    folder.mkdir()
    fetch(remote, folder, TransferLines("Fetched", remote.uri))
    state.files = list_files(folder)
    state.save(lock.driver, whole=True)


def _set_aside(folder: Path) -> None:
    """Remove a local folder that is at its URI as well, and rename one that is not."""
    state = MirrorState(folder)
    if state.whole and folder.is_dir() and list_files(folder) == state.files:
        remove([folder])
    elif folder.exists():
        number = 1
        while (kept := folder.with_name(f"{folder.name}.kept-{number}")).exists():
            number += 1
        shutil.move(folder, kept)
        make_console().print(Text(f"An older local copy is kept in {kept}."), soft_wrap=True)
    state.forget()


@contextmanager
def _naming_uri(location: RunLocation) -> Iterator[None]:
    """Name the URI, not the local folder, where an error says how to resume."""
    try:
        yield
    except (MaxentRayError, KeyboardInterrupt) as error:
        if error.args and isinstance(error.args[0], str):
            resume = f"--resume {location.folder}"
            error.args = (error.args[0].replace(resume, location.resume_option), *error.args[1:])
        raise
