"""Checkpoint folders of a run on Ray Train: written atomically, checked before a run resumes from one.

``results/<name>/train`` has a folder for each, and Ray's own list of them. Ray resumes from the newest in the list and
fails if one of them is missing, so the list is first brought in line with the folders.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ray

from maxent_ray.storage.atomic import PARTIAL, remove, sync_folder, write_atomic
from maxent_ray.storage.checkpoint import read_block
from maxent_ray.storage.json_lines import read_lines
from maxent_ray.storage.run_files import CHECKPOINTS, DECISIONS, ROWS
from maxent_ray.storage.write_errors import writing

STATE, SNAPSHOT = "state.safetensors", "checkpoint_manager_snapshot.json"
_PREFIX = "checkpoint_"
_LEFTOVERS = (f"*{PARTIAL}", "*.part")


def write_checkpoint(run_folder: Path, step: int, block: bytes) -> Path:
    """Write one checkpoint, at the place Ray Train would have copied it to: its copy is neither atomic nor synced.

    Returns:
        Its folder.

    Raises:
        RecordingError: the disk is full, the run's folder was moved, or the storage fails for another reason; older
            checkpoints are intact.
    """
    folder = run_folder / CHECKPOINTS / f"{_PREFIX}{step:08d}"
    with writing(folder, "Older checkpoints are intact"):
        for each in (folder.parent, folder):  # the run's own folder is missing if it was moved
            each.mkdir(exist_ok=True)
    write_atomic(folder / STATE, block)
    sync_folder(folder.parent)
    return folder


def read_checkpoint(folder: Path) -> bytes:
    """The worker's state in a checkpoint.

    Raises:
        ResumeError: it is missing, damaged or of a newer schema; the message ends with :func:`recovery_advice`.
    """
    return read_block(folder / STATE, recovery_advice(folder))


def recovery_advice(folder: Path) -> str:
    """Advice for a checkpoint that cannot be read."""
    return f"remove the folder {folder}; --resume then uses the checkpoint before it, or starts from the beginning"


def remove_leftovers(run_folder: Path) -> None:
    """Remove partial files of processes that died while writing."""
    for pattern in _LEFTOVERS:
        remove(run_folder.rglob(pattern))


def prepare_checkpoints(run_folder: Path) -> Path | None:
    """Check the newest checkpoint, then bring Ray's list in line with the folders.

    Valid are the folders in Ray's list or, where the list is missing or truncated, every non-empty folder whose steps
    are recorded. The newest valid one must be intact. Listed folders that were removed by hand are dropped from the
    list. Other folders are leftovers and are removed: ranks outlive a killed driver by a second or two and may save
    once more, but their rows are not recorded any more.

    Returns:
        The folder that the run resumes from; None when it starts from the beginning.

    Raises:
        ResumeError: the newest checkpoint is damaged or of a newer schema; nothing was changed.
    """
    train = run_folder / CHECKPOINTS
    listed = _listed(train)
    found = sorted(path.name for path in train.glob(f"{_PREFIX}*") if path.is_dir())
    valid = _recorded(run_folder, found) if listed is None else [name for name in listed if name in found]
    if valid:
        read_checkpoint(train / valid[-1])
    if valid != listed:
        _write_list(train, valid)
    remove(train / name for name in found if _is_ours(name) and name not in valid)
    return train / valid[-1] if valid else None


def _listed(train: Path) -> list[str] | None:
    """Checkpoints in Ray's list, oldest first; None where it cannot be read or is empty."""
    try:
        snapshot = json.loads((train / SNAPSHOT).read_bytes())
        return [result["checkpoint_dir_name"] for result in snapshot["checkpoint_results"]] or None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # never written, or truncated
        return None


def _recorded(run_folder: Path, found: list[str]) -> list[str]:
    """Non-empty checkpoints of recorded steps, oldest first; empty ones were being written."""
    steps, train = _recorded_steps(run_folder), run_folder / CHECKPOINTS
    return [name for name in found if _is_ours(name) and _steps(name) <= steps and not _is_empty(train / name)]


def _is_ours(name: str) -> bool:
    """True for folders of :func:`write_checkpoint`; others are kept."""
    return name.removeprefix(_PREFIX).isdecimal()


def _steps(name: str) -> int:
    """Number of steps before a checkpoint, from its name."""
    return int(name.removeprefix(_PREFIX))


def _recorded_steps(run_folder: Path) -> int:
    """Number of steps whose rows, or else decisions, are recorded; decisions are written after rows."""
    records = [record for name in (ROWS, DECISIONS) for record in read_lines(run_folder / name)[0]]
    return max((record["step"] + 1 for record in records), default=0)


def _is_empty(folder: Path) -> bool:
    """True for a folder without finished files."""
    return all(path.name.endswith(PARTIAL) for path in folder.iterdir())


def _write_list(train: Path, names: list[str]) -> None:
    """Write Ray's list of checkpoints; without checkpoints, remove it."""
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
