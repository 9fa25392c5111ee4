"""The checkpoints of a run on Ray Train as they lie on disk: written whole, checked before a run goes on from one.

``results/<name>/train`` has a folder for each, and Ray's own list of them. Ray takes the newest that the list names
and starts nothing if one of them is gone, so the list is brought in line with the folders first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ray

from maxent_ray.errors import ResumeError
from maxent_ray.runtime.atomic import PARTIAL, remove, sync_folder, write_atomic
from maxent_ray.runtime.checkpoint import read_block
from maxent_ray.train.recording import ROWS
from maxent_ray.train.run_folder import CHECKPOINTS
from maxent_ray.write_errors import writing

STATE, SNAPSHOT = "state.safetensors", "checkpoint_manager_snapshot.json"
_PREFIX = "checkpoint_"
_LEFTOVERS = (f"*{PARTIAL}", "*.part")


def write_checkpoint(run_folder: Path, step: int, block: bytes) -> Path:
    """Write one checkpoint, where Ray Train would have copied it: a copy is neither atomic nor on the disk for sure.

    Returns:
        Its folder.

    Raises:
        RecordingError: there is no room, or the storage refuses for another reason; older checkpoints are whole.
    """
    folder = run_folder / CHECKPOINTS / f"{_PREFIX}{step:08d}"
    with writing(folder, "Older checkpoints are whole"):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / STATE, block)
    sync_folder(folder.parent)
    return folder


def read_checkpoint(folder: Path) -> bytes:
    """The worker's state in a checkpoint.

    Raises:
        ResumeError: it is missing, damaged or of a newer schema; the message says what to do.
    """
    return read_block(folder / STATE, advice(folder))


def advice(folder: Path) -> str:
    """What to do about a checkpoint that cannot be read."""
    return f"remove the folder {folder}, and --resume goes on from the checkpoint before it, or else from the beginning"


def remove_leftovers(run_folder: Path) -> None:
    """Remove what a dead process was still writing."""
    for pattern in _LEFTOVERS:
        remove(run_folder.rglob(pattern))


def prepare_checkpoints(run_folder: Path) -> Path | None:
    """Bring Ray's list in line with what there is, and check the newest checkpoint.

    Checkpoints that are listed but were removed by hand are struck off the list. Folders that never got onto it are
    removed: ranks outlive a killed driver by a second or two and may save once more, but nobody is left to record
    their rows. If the list itself was cut off, the checkpoints that are whole and whose rows are recorded make a new
    one.

    Returns:
        The folder that the run goes on from; None when it starts from nothing.

    Raises:
        ResumeError: the newest checkpoint is damaged or of a newer schema, or the list is gone and no checkpoint can be
            read; nothing was changed about it.
    """
    train = run_folder / CHECKPOINTS
    listed = _listed(train)
    found = sorted(path.name for path in train.glob(f"{_PREFIX}*") if path.is_dir())
    if listed is None:
        recorded = _recorded_steps(run_folder)
        saved = [name for name in found if _is_ours(name) and _steps(name) <= recorded and _holds_state(train / name)]
        kept = [name for name in saved if _is_whole(train / name)]
        if saved and not kept:
            read_checkpoint(train / saved[-1])  # says what is wrong: a run's work is never thrown away unasked
    else:
        kept = [name for name in listed if name in found]
    if kept != listed:
        _list_only(train, kept)
    remove(train / name for name in found if _is_ours(name) and name not in kept)
    if not kept:
        return None
    read_checkpoint(train / kept[-1])
    return train / kept[-1]


def _listed(train: Path) -> list[str] | None:
    """The checkpoints that Ray's list names, oldest first; None where it cannot be read."""
    try:
        snapshot = json.loads((train / SNAPSHOT).read_bytes())
        return [result["checkpoint_dir_name"] for result in snapshot["checkpoint_results"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # never written, or cut off in the middle
        return None


def _is_ours(name: str) -> bool:
    """Whether :func:`write_checkpoint` made the folder; others stay."""
    return name.removeprefix(_PREFIX).isdecimal()


def _steps(name: str) -> int:
    """Steps that were done at a checkpoint."""
    return int(name.removeprefix(_PREFIX))


def _recorded_steps(run_folder: Path) -> int:
    """Steps whose rows are recorded."""
    rows = run_folder / ROWS
    lines = rows.read_text().splitlines() if rows.is_file() else []
    return max((json.loads(line)["step"] + 1 for line in lines), default=0)


def _holds_state(folder: Path) -> bool:
    """Whether saving got as far as the file; one that was cut off before is a leftover."""
    return any(folder.glob("state.*"))


def _is_whole(folder: Path) -> bool:
    try:
        read_checkpoint(folder)
    except ResumeError:
        return False
    return True


def _list_only(train: Path, names: list[str]) -> None:
    """Write Ray's list anew; without a checkpoint there is none."""
    if not names:
        (train / SNAPSHOT).unlink(missing_ok=True)
        return
    results: list[dict[str, Any]] = [{"version": 0, "checkpoint_dir_name": name, "metrics": {}} for name in names]
    snapshot = {
        "ray_version": ray.__version__,
        "checkpoint_results": results,
        "checkpoint_report_indices": list(range(len(names))),
        "latest_checkpoint_result": results[-1],
        "pending_training_results": [],
        "pending_validation_specs": [],
        "current_report_index": len(names),
        "validated_checkpoint_dir_names": [],
        "timed_out_validation_checkpoint_dir_names": [],
        "failed_validation_checkpoint_dir_names": [],
    }
    write_atomic(train / SNAPSHOT, json.dumps(snapshot).encode())
