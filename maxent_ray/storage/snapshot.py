"""Snapshot of a run's folder while the run goes on: a state that can be resumed, whenever it is taken.

Ray lists the checkpoints to resume from in files of its own, removes old checkpoints, and rows are recorded before the
checkpoint after them. So a snapshot takes the lists first, then the checkpoints, then all the rest, and starts again if
a list changed meanwhile. Links take no time and no space, and keep what is removed later.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maxent_ray.storage.atomic import PARTIAL, remove
from maxent_ray.storage.driver_lock import LOCK

UNFINISHED = (PARTIAL, ".part")
"""Endings of what is still being written."""
_LISTS = ("train/checkpoint_manager_snapshot.json", "tune/experiment_state-", "tune/basic-variant-state-", "tune/kept/")
_SKIPPED = {LOCK, ".validate_storage_marker"}


@dataclass(frozen=True)
class FileState:
    """Size and time of a file; it has changed if one of them has."""

    size: int
    modified_ns: int


def is_list(name: str) -> bool:
    """True for a file that names checkpoints.

    Example:
        >>> is_list("tune/kept/experiment_state-0.json"), is_list("rows.jsonl")
        (True, False)
    """
    return name.startswith(_LISTS)


def list_files(folder: Path) -> dict[str, FileState]:
    """Finished files below a folder, by their path relative to it; links to other places are left out."""
    return dict(_walk(folder))


def _walk(folder: Path) -> Iterator[tuple[str, FileState]]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.endswith(UNFINISHED))
        for name in names:
            path = Path(parent, name)
            if name in _SKIPPED or name.endswith(UNFINISHED) or path.is_symlink():
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # removed meanwhile
                continue
            yield path.relative_to(folder).as_posix(), FileState(status.st_size, status.st_mtime_ns)


def take_snapshot(folder: Path, target: Path) -> dict[str, FileState]:
    """Link a run's finished files into an empty folder of the same disk, lists copied.

    Args:
        folder: The run's.
        target: Where the snapshot goes; what is there is removed.

    Returns:
        The snapshot's files.
    """
    while True:
        remove([target])
        lists = {name: state for name, state in list_files(folder).items() if is_list(name)}
        taken = [_take(folder, target, name) for name in lists]
        names = [name for name in list_files(folder) if not is_list(name)]
        taken += [_take(folder, target, name) for name in sorted(names, key=lambda name: "/checkpoint_" not in name)]
        if lists == {name: state for name, state in list_files(folder).items() if is_list(name)} and all(taken):
            return list_files(target)


def _take(folder: Path, target: Path, name: str) -> bool:
    """Link a file, or copy it if it is a list, which Ray writes in place; False where it is gone."""
    place = target / name
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        if is_list(name):
            shutil.copy2(folder / name, place)
        else:
            _link(folder / name, place)
    except FileNotFoundError:
        return False
    return True


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except FileNotFoundError:
        raise
    except OSError:  # a disk without links
        shutil.copy2(source, place)
