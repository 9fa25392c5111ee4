"""``maxent-ray results``: list the runs of a folder or a URI, fetch a run from a URI, upload one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from maxent_ray.errors import ConfigError, ResumeError
from maxent_ray.report.output import make_console
from maxent_ray.storage.locations import parse_location, split_uri

if TYPE_CHECKING:
    from maxent_ray.storage.remote_folder import RemoteFolder

results = typer.Typer(
    name="results",
    help="List, fetch and upload the results of runs, where they are at a URI.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
Place = Annotated[str, typer.Argument(metavar="URI|DIR", help="Parent of results: what --results was.")]
RunUri = Annotated[str, typer.Argument(metavar="URI", help="A run's, as s3://bucket/results/mine.")]
Destination = Annotated[Path, typer.Argument(metavar="[DEST]", help="Parent of the local folder.")]


@results.command("list", epilog="Example:\n\nmaxent-ray results list s3://bucket/results")
def list_runs(place: Place = "results") -> None:
    """List the runs in a folder or at a URI: name, state, time of the last row, size of the rows."""
    runs = _runs(place)
    if not runs:
        raise ConfigError(f"{place} holds no run; give the folder or URI that --results was")
    width = max(len(name) for name in runs)
    for name, (state, rows, modified) in runs.items():
        _say(f"{name:<{width}}  {state:<10}  {modified:%Y-%m-%d %H:%M}  {rows / 1e6:8.2f} MB of rows")


@results.command(epilog="Example:\n\nmaxent-ray results fetch s3://bucket/results/mine shared-results")
def fetch(uri: RunUri, destination: Destination = Path("results")) -> None:
    """Fetch a run from a URI into DEST (results) under its name; what an earlier fetch left is completed.

    Nothing is written outside that folder. A run that goes on can be fetched, too, and fetched again.
    """
    from maxent_ray.cli.transfer_lines import TransferLines
    from maxent_ray.storage.atomic import write_atomic
    from maxent_ray.storage.driver_lock import driver_lock
    from maxent_ray.storage.fetching import fetch as copy
    from maxent_ray.storage.write_errors import writing

    remote = _remote(uri)
    _check_has_run(remote)
    folder = destination / split_uri(remote.uri)[1]
    mark = folder.with_name(f".{folder.name}.fetched-from")
    if folder.exists() and not (mark.is_file() and mark.read_text(encoding="utf-8") == remote.uri):
        raise ResumeError(f"{folder} exists and was not fetched from {remote.uri}; give another DEST, or rename it")
    with writing(folder, "Nothing was fetched"):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(mark, remote.uri.encode())
    with driver_lock(folder):
        copied = copy(remote, folder, TransferLines("Fetched", remote.uri))
    _say(f"Fetched {copied} file(s) into {folder}.")


@results.command(epilog="Example:\n\nmaxent-ray results upload results/mine s3://bucket/results/mine")
def upload(
    folder: Annotated[Path, typer.Argument(metavar="RESULT", help="A run's folder, as results/mine.")], uri: RunUri
) -> None:
    """Upload a run's folder to a URI: what is there and differs is replaced, what is not in the folder is deleted."""
    from maxent_ray.cli.transfer_lines import TransferLines
    from maxent_ray.storage.driver_lock import driver_lock
    from maxent_ray.storage.mirror import Mirror
    from maxent_ray.storage.remote_lock import RemoteLock
    from maxent_ray.storage.run_files import CONFIG
    from maxent_ray.train.run_folder import check_has_run

    check_has_run(folder)
    remote = _remote(uri)
    there = remote.read(CONFIG)
    if there is not None and there != (folder / CONFIG).read_bytes():
        raise ResumeError(f"{remote.uri} holds another run than {folder} (its {CONFIG} differs); give another URI")
    with driver_lock(folder), RemoteLock(remote) as lock, Mirror(folder, remote, lock, TransferLines("Uploaded", uri)):
        pass  # the mirror uploads at its end
    _say(f"Uploaded {folder} to {remote.uri}.")


def _runs(place: str) -> dict[str, tuple[str, int, datetime]]:
    """Name → state, bytes of rows, time of the last change."""
    from maxent_ray.storage.run_files import CONFIG, ROWS, SUMMARY

    location = parse_location(place, "DIR")
    runs = {}
    if isinstance(location, Path):
        for folder in sorted(location.glob(f"*/{CONFIG}")):
            rows = folder.with_name(ROWS)
            status = (rows if rows.is_file() else folder).stat()
            size = status.st_size if rows.is_file() else 0
            runs[folder.parent.name] = (
                _state(folder.with_name(SUMMARY).is_file()),
                size,
                datetime.fromtimestamp(status.st_mtime),
            )
        return runs
    parent = _remote(place)
    for name in parent.folders():
        child = parent.child(name)
        config, rows_there = child.find(CONFIG), child.find(ROWS)
        if config is not None:
            modified = (rows_there or config).modified
            size = rows_there.size if rows_there else 0
            state = _state(child.find(SUMMARY) is not None)
            runs[name] = (state, size, modified.astimezone() if modified else datetime.min)
    return runs


def _state(has_summary: bool) -> str:
    return "finished" if has_summary else "unfinished"


def _remote(uri: str) -> RemoteFolder:
    """A URI's folder.

    Raises:
        ConfigError: it is a local path, or cannot be used.
    """
    from maxent_ray.storage.remote_folder import RemoteFolder

    location = parse_location(uri, "URI")
    if isinstance(location, Path):
        raise ConfigError(f"URI is {uri!r}, a local folder; give a URI, as s3://bucket/results/mine")
    return RemoteFolder.open(location)


def _check_has_run(remote: RemoteFolder) -> None:
    from maxent_ray.storage.run_files import CONFIG

    if remote.find(CONFIG) is None:
        inside = ", ".join(remote.folders()[:5])
        raise ResumeError(f"{remote.uri} holds no run (it has no {CONFIG}){'; it has ' + inside if inside else ''}")


def _say(line: str) -> None:
    make_console().print(Text(line), soft_wrap=True)
