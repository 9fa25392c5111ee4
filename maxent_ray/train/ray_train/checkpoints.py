"""Checkpoint folders of a run on Ray Train: written atomically, validated before a run resumes from one.

``results/<name>/train`` has a folder for each, and Ray's own list of them. Ray takes the newest that the list names
and starts nothing if one of them is gone, so the list is brought in line with the folders first.
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
    """Give advice on a checkpoint that cannot be read."""
    return f"remove the folder {folder}, and --resume goes on from the checkpoint before it, or else from the beginning"


def remove_leftovers(run_folder: Path) -> None:
    """Remove what a dead process was still writing."""
    for pattern in _LEFTOVERS:
        remove(run_folder.rglob(pattern))


def prepare_checkpoints(run_folder: Path) -> Path | None:
    """Check the newest checkpoint, then bring Ray's list in line with what there is.

    What counts is what Ray's list names, or, where the list is gone or cut off, every folder with something in it whose
    steps are recorded. The newest that counts must be whole. Listed ones that were removed by hand are struck off. A
    folder that does not count is a leftover and is removed: ranks outlive a killed driver by a second or two and may
    save once more, but nobody is left to record their rows.

    Returns:
        The folder that the run goes on from; None when it starts from nothing.

    Raises:
        ResumeError: the newest checkpoint is damaged or of a newer schema; nothing was changed.
    """
    train = run_folder / CHECKPOINTS
    listed = _listed(train)
    found = sorted(path.name for path in train.glob(f"{_PREFIX}*") if path.is_dir())
    counted = _recorded(run_folder, found) if listed is None else [name for name in listed if name in found]
    if counted:
        read_checkpoint(train / counted[-1])
    if counted != listed:
        _list_only(train, counted)
    remove(train / name for name in found if _is_ours(name) and name not in counted)
    return train / counted[-1] if counted else None


def _listed(train: Path) -> list[str] | None:
    """The checkpoints that Ray's list names, oldest first; None where it cannot be read or names none."""
    try:
        snapshot = json.loads((train / SNAPSHOT).read_bytes())
        return [result["checkpoint_dir_name"] for result in snapshot["checkpoint_results"]] or None
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # never written, or cut off in the middle
        return None


def _recorded(run_folder: Path, found: list[str]) -> list[str]:
    """The checkpoints of recorded steps, oldest first, but for folders that hold nothing: they were being filled."""
    steps, train = _recorded_steps(run_folder), run_folder / CHECKPOINTS
    return [name for name in found if _is_ours(name) and _steps(name) <= steps and not _is_empty(train / name)]


def _is_ours(name: str) -> bool:
    """Tell whether :func:`write_checkpoint` made the folder; others stay."""
    return name.removeprefix(_PREFIX).isdecimal()


def _steps(name: str) -> int:
    """Steps that were done at a checkpoint."""
    return int(name.removeprefix(_PREFIX))


def _recorded_steps(run_folder: Path) -> int:
    """Steps whose rows are recorded; or else their decisions, which are written after them."""
    records = [record for name in (ROWS, DECISIONS) for record in read_lines(run_folder / name)[0]]
    return max((record["step"] + 1 for record in records), default=0)


def _is_empty(folder: Path) -> bool:
    """Tell whether a folder holds no finished file."""
    return all(path.name.endswith(PARTIAL) for path in folder.iterdir())


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
