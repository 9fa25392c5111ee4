"""Copies of remote results: every file below a URI, into one local folder and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from maxent_ray.errors import RecordingError
from maxent_ray.storage.atomic import PARTIAL
from maxent_ray.storage.driver_lock import LOCK
from maxent_ray.storage.remote_folder import RemoteFile, RemoteFolder
from maxent_ray.storage.snapshot import is_list
from maxent_ray.storage.transfer import Told, counted, in_parallel
from maxent_ray.storage.write_errors import writing


def fetch(remote: RemoteFolder, folder: Path, told: Told = lambda done, total: None) -> int:
    """Copy all files of a remote folder that are not there yet; those of another fetch that broke off are kept.

    A file counts as fetched when it has the size and the time of its last change there. Lists of checkpoints are read
    first, so that what they name is there, even while a run goes on.

    Args:
        remote: The folder of a run.
        folder: Where it goes; exists.
        told: Gets the bytes that were copied, and those of all files.

    Returns:
        The number of files that were copied now.

    Raises:
        RecordingError: the service does not answer, a file was removed meanwhile, or one would be written outside the
            folder.
    """
    files = {name: file for name, file in remote.files().items() if name != LOCK}
    places = {name: _place(folder, name, remote.uri) for name in files}
    missing = [name for name, file in files.items() if not _is_fetched(places[name], file)]
    add = counted(told, sum(file.size for file in files.values()))
    add(sum(files[name].size for name in files.keys() - set(missing)))

    def copy(name: str) -> None:
        place = places[name]
        with writing(place, "What was fetched is kept"):
            place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f"{place.name}{PARTIAL}")
        remote.download(name, partial, add)
        with writing(place, "What was fetched is kept"):
            if (modified := files[name].modified) is not None:
                os.utime(partial, (modified.timestamp(), modified.timestamp()))
            partial.replace(place)

    in_parallel(copy, [name for name in missing if is_list(name)])
    in_parallel(copy, [name for name in missing if not is_list(name)])
    return len(missing)


def _is_fetched(place: Path, file: RemoteFile) -> bool:
    if not place.is_file() or file.modified is None:
        return False
    status = place.stat()
    return status.st_size == file.size and abs(status.st_mtime - file.modified.timestamp()) < 1.0


def _place(folder: Path, name: str, uri: str) -> Path:
    """Local path of a remote file.

    Raises:
        RecordingError: its name, or a link on the way, leads out of the folder.
    """
    place = folder / name
    odd = {"..", "", "."} & set(name.split("/")) or PurePosixPath(name).is_absolute() or "\0" in name
    if odd or not place.resolve().is_relative_to(folder.resolve()):
        raise RecordingError(
            f"{uri} has a file {name!r}, which would be written outside {folder}; nothing was fetched. Remove it "
            "there, if you trust the rest"
        )
    return place
