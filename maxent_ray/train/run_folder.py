"""The results folder of one run: created for a new run, or checked before a run is resumed in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import dump_config, load_config
from maxent_ray.errors import ResumeError
from maxent_ray.storage.atomic import remove
from maxent_ray.storage.driver_lock import LOCK, driver_lock
from maxent_ray.storage.run_files import CONFIG, TUNE_FOLDER
from maxent_ray.storage.write_errors import writing

_FREE = ("train.", "grpo.micro_batch_tokens ", "grpo.chunk_tokens ", "policy.gradient_checkpointing ")
"""Settings that decide on length, machines, or what is in memory at a time, and nothing of what is trained."""


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C: finished work is kept, and the message gives the command to resume."""


def check_is_new(folder: Path) -> None:
    """Check that a new run does not write into the folder of another.

    Raises:
        ResumeError: the folder exists, with a run in it or without one (as after a driver killed at its start).
    """
    if not folder.exists():
        return
    if (folder / CONFIG).is_file():
        raise ResumeError(f"{folder} exists: resume its run (--resume {folder}) or choose another --name")
    raise ResumeError(
        f"{folder} exists and holds no run (it has no {CONFIG}): either the start of a run was interrupted, or it "
        "is some other folder. Remove it, if nothing in it is needed, or choose another --name"
    )


def check_has_run(folder: Path) -> None:
    """Check that there is a run to resume.

    Raises:
        ResumeError: the folder holds none.
    """
    if (folder / CONFIG).is_file():
        return
    if folder.exists():
        raise ResumeError(
            f"cannot resume {folder}: it holds no run (it has no {CONFIG}). Give the results folder of a run; if the "
            "start of this one was interrupted, remove it and start without --resume"
        )
    raise ResumeError(f"cannot resume {folder}: it does not exist; give the results folder of a run")


@contextmanager
def acquire_folder(folder: Path, *, resume: bool) -> Iterator[None]:
    """Lock a run's folder for this driver, after creating it or checking that it holds a run; writes nothing else.

    Raises:
        ResumeError: the folder exists (without ``resume``), holds no run (with it), or another driver uses it.
        RecordingError: it cannot be created or written to.
    """
    if resume:
        check_has_run(folder)
    else:
        check_is_new(folder)
        with writing(folder, "Nothing was started"):
            folder.mkdir(parents=True)
    with driver_lock(folder):
        try:
            yield
        finally:
            _remove_stray(folder)


def _remove_stray(folder: Path) -> None:
    """Remove what Tune has written to the old place of a folder that was moved during the run: its state, in ``tune``.

    Nothing else is removed: neither checkpoints, nor a folder that is locked or has a configuration.
    """
    if (folder / LOCK).exists() or (folder / CONFIG).exists() or not folder.is_dir():
        return
    if [path.name for path in folder.iterdir()] == [TUNE_FOLDER] and not any(folder.rglob("checkpoint_*")):
        remove([folder])


def open_run_folder(folder: Path, config: ExperimentConfig, *, resume: bool) -> None:
    """Write the ``config.yaml`` of a new run, or check that a run can be resumed with these settings.

    A resumed run may train for longer or with other workers, so its ``train`` section may change, and so may settings
    of memory, since memory may be why it ended; nothing else may.

    Raises:
        ResumeError: the folder holds no run of this kind, or its settings differ.
    """
    if resume:
        if (folder / TUNE_FOLDER).exists():
            raise ResumeError(f"cannot resume {folder} with train: it holds a comparison or a sweep")
        changed = differences(load_config(folder / CONFIG, checked=True).model_dump(), config.model_dump())
        fixed = [line for line in changed if not line.startswith(_FREE) or line.startswith("train.seed ")]
        if fixed:
            raise ResumeError(f"cannot resume {folder} with other settings: {'; '.join(fixed)}")
    dump_config(config, folder / CONFIG)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Every setting that differs, as ``section.key was 1, now 2``.

    Example:
        >>> from maxent_ray.config.loading import apply_overrides
        >>> config = ExperimentConfig()
        >>> changed = apply_overrides(config, {"train.steps": 60, "controller.target_kl": 0.1})
        >>> differences(config.model_dump(), changed.model_dump())
        ['controller.target_kl was 0.2, now 0.1', 'train.steps was 120, now 60']
    """
    lines: list[str] = []
    for name, before in old.items():
        after = new[name]
        if isinstance(before, Mapping) and isinstance(after, Mapping) and before.keys() == after.keys():
            lines += differences(before, after, f"{prefix}{name}.")
        elif before != after:
            lines.append(f"{prefix}{name} was {before}, now {after}")
    return lines
