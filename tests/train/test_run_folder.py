"""A folder that a killed driver left behind: however it is started next, the message names the command to use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from maxent_ray.config.loading import apply_overrides, dump_config, load_config
from maxent_ray.errors import ResumeError
from maxent_ray.storage.driver_lock import LOCK
from maxent_ray.storage.run_files import CONFIG
from maxent_ray.train.run_folder import acquire_folder, open_run_folder
from tests.train.tiny import tiny_config


@pytest.fixture(params=[True, False], ids=["after the lock", "before the lock"])
def cut_off(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What is there when a driver is killed between making its folder and writing its settings."""
    folder = tmp_path / "run"
    folder.mkdir()
    if request.param:
        (folder / LOCK).write_text("1 node\n")
    return folder


def test_a_folder_without_a_run_is_to_be_removed(cut_off: Path) -> None:
    no_run = rf"{re.escape(str(cut_off))} exists and holds no run \(it has no config.yaml\).*Remove it.*another --name$"
    with pytest.raises(ResumeError, match=no_run):
        acquire_folder(cut_off, resume=False).__enter__()
    with pytest.raises(ResumeError, match=r"it holds no run .*remove it and start without --resume$"):
        acquire_folder(cut_off, resume=True).__enter__()
    (cut_off / LOCK).unlink(missing_ok=True)
    cut_off.rmdir()
    with acquire_folder(cut_off, resume=False):  # as both said
        pass


def test_a_folder_with_a_run_is_to_be_resumed(cut_off: Path) -> None:
    (cut_off / CONFIG).touch()
    with pytest.raises(ResumeError, match=rf"exists: resume its run \(--resume {re.escape(str(cut_off))}\) or choose"):
        acquire_folder(cut_off, resume=False).__enter__()
    with acquire_folder(cut_off, resume=True):
        pass


def test_a_name_that_is_mistyped_is_told_from_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"it does not exist; give the results folder of a run$"):
        acquire_folder(tmp_path / "rum", resume=True).__enter__()
    (tmp_path / "file").touch()
    with pytest.raises(ResumeError, match="file exists and holds no run"):
        acquire_folder(tmp_path / "file", resume=False).__enter__()


def test_a_resume_may_change_length_and_memory_and_nothing_else(tmp_path: Path) -> None:
    dump_config(tiny_config(), tmp_path / CONFIG)
    memory = {"grpo.micro_batch_tokens": 64, "grpo.chunk_tokens": 8, "policy.gradient_checkpointing": True}
    changed = apply_overrides(tiny_config(), {**memory, "train.steps": 200})
    open_run_folder(tmp_path, changed, resume=True)
    assert load_config(tmp_path / CONFIG).grpo.micro_batch_tokens == 64
    for name, value in {"grpo.max_new_tokens": 9, "train.seed": 3, "policy.lora": {"rank": 2}}.items():
        with pytest.raises(ResumeError, match=rf"with other settings: {re.escape(name)} was"):
            open_run_folder(tmp_path, apply_overrides(changed, {name: value}), resume=True)
