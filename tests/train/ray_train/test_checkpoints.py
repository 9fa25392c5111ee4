"""The checkpoint folders of a run: checks, clean-up and Ray's list of them before a run resumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from ray.train import Checkpoint, CheckpointConfig
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import CheckpointManager
from ray.train.v2._internal.execution.storage import StorageContext
from ray.train.v2._internal.execution.training_report import _TrainingReport

from maxent_ray.errors import ResumeError
from maxent_ray.storage.checkpoint import decode, encode
from maxent_ray.storage.run_files import CHECKPOINTS
from maxent_ray.train.ray_train.checkpoints import (
    SNAPSHOT,
    STATE,
    prepare_checkpoints,
    read_checkpoint,
    remove_leftovers,
    write_checkpoint,
)
from maxent_ray.train.worker_state import decode_state, encode_state
from tests.train.tiny import start, tiny_config


def block(step: int) -> bytes:
    return encode({"w": torch.full((3,), float(step))}, {"step": step})


def manager(folder: Path) -> CheckpointManager:
    """Ray's own reader of the list, as it starts in a run."""
    return CheckpointManager(CheckpointConfig(num_to_keep=2), StorageContext(str(folder), CHECKPOINTS))


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two checkpoints, entered into the list by Ray itself."""
    monkeypatch.setattr(CheckpointManager, "_notify", lambda self: None)  # wakes waiters on an event loop
    written = manager(tmp_path)
    for step in (2, 4):
        checkpoint = Checkpoint.from_directory(write_checkpoint(tmp_path, step, block(step)))
        written.register_checkpoint(_TrainingReport(checkpoint=checkpoint, metrics={}, validation=False))
    return tmp_path


def newest(folder: Path) -> int:
    """The step that Ray would resume from."""
    result = manager(folder).latest_checkpoint_result
    assert result is not None and result.checkpoint is not None
    step: int = decode(read_checkpoint(Path(result.checkpoint.path)), "newest").state["step"]
    return step


def checkpoint(folder: Path, step: int) -> Path:
    return folder / CHECKPOINTS / f"checkpoint_{step:08d}"


def test_nothing_is_touched_where_all_is_well(run_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (run_folder / CHECKPOINTS).rglob("*")}
    assert prepare_checkpoints(run_folder) == checkpoint(run_folder, 4)
    assert {path: path.stat().st_mtime_ns for path in (run_folder / CHECKPOINTS).rglob("*")} == before
    assert newest(run_folder) == 4


def test_a_run_without_checkpoints_starts_from_nothing(tmp_path: Path) -> None:
    assert prepare_checkpoints(tmp_path) is None
    assert manager(tmp_path).latest_checkpoint_result is None


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "remove"])
def test_the_advice_for_a_damaged_checkpoint_works(damage: str, run_folder: Path) -> None:
    """The error names the file and the folder to remove; without it, Ray itself resumes from the one before."""
    path = checkpoint(run_folder, 4) / STATE
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        kept = {"truncate": content[:-9], "flip": content[:-1] + bytes([content[-1] ^ 1]), "empty": b""}[damage]
        path.write_bytes(kept)
    with pytest.raises(ResumeError, match=rf"{path} .*remove the folder {path.parent}; --resume then uses the"):
        prepare_checkpoints(run_folder)
    path.unlink(missing_ok=True)
    path.parent.rmdir()
    assert prepare_checkpoints(run_folder) == checkpoint(run_folder, 2)
    assert newest(run_folder) == 2


def test_with_every_checkpoint_removed_a_run_begins_anew(run_folder: Path) -> None:
    for step in (2, 4):
        (checkpoint(run_folder, step) / STATE).unlink()
        checkpoint(run_folder, step).rmdir()
    assert prepare_checkpoints(run_folder) is None
    assert manager(run_folder).latest_checkpoint_result is None


def write_rows(folder: Path, steps: int) -> None:
    (folder / "rows.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in range(steps)))


def test_a_checkpoint_that_ranks_wrote_after_their_drivers_death_is_none(run_folder: Path) -> None:
    """Whole, but the rows of its steps were never recorded: to resume from it would lose them."""
    orphan = write_checkpoint(run_folder, 6, block(6))
    assert prepare_checkpoints(run_folder) == checkpoint(run_folder, 4)
    assert not orphan.exists()


LOST = [None, "", '{"ray_version": "2.6', '{"checkpoint_results": 3}', '{"checkpoint_results": []}']
"""What may be left of Ray's list, which Ray writes in place."""


def lose_list(folder: Path, left: str | None = None) -> Path:
    snapshot = folder / CHECKPOINTS / SNAPSHOT
    if left is None:
        snapshot.unlink()
    else:
        snapshot.write_text(left)
    return snapshot


@pytest.mark.parametrize("left", LOST)
def test_a_list_that_was_cut_off_is_made_anew_from_checkpoints_of_recorded_steps(
    left: str | None, run_folder: Path
) -> None:
    """Of the others one is whole, one is being filled, and nobody has recorded the steps of either."""
    snapshot = lose_list(run_folder, left)
    write_rows(run_folder, steps=6)
    filling = checkpoint(run_folder, 6)
    filling.mkdir()
    (filling / f"{STATE}.77.partial").write_bytes(b"half")
    unrecorded = write_checkpoint(run_folder, 8, block(8))
    assert prepare_checkpoints(run_folder) == checkpoint(run_folder, 4)
    assert newest(run_folder) == 4
    assert not filling.exists() and not unrecorded.exists()
    assert len(json.loads(snapshot.read_text())["checkpoint_results"]) == 2


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "rename"])
@pytest.mark.parametrize("left", LOST)
def test_a_damaged_checkpoint_is_refused_without_a_list_as_with_one(
    left: str | None, damage: str, run_folder: Path
) -> None:
    """Nothing is touched: a user may copy a good state back, or remove the folder, and the one before counts."""
    lose_list(run_folder, left)
    write_rows(run_folder, steps=5)
    unrecorded = write_checkpoint(run_folder, 8, block(8))
    path = checkpoint(run_folder, 4) / STATE
    good = path.read_bytes()
    if damage == "rename":
        path.rename(path.with_suffix(".kept"))
    else:
        path.write_bytes({"truncate": good[:-9], "flip": good[:-1] + bytes([good[-1] ^ 1]), "empty": b""}[damage])
    before = content(run_folder)
    with pytest.raises(ResumeError, match=rf"{path} .*remove the folder {path.parent}; --resume then uses the"):
        prepare_checkpoints(run_folder)
    assert content(run_folder) == before and unrecorded.exists()
    if damage == "flip":
        path.write_bytes(good)
        assert prepare_checkpoints(run_folder) == checkpoint(run_folder, 4)
    else:
        shutil.rmtree(path.parent)
        assert prepare_checkpoints(run_folder) == checkpoint(run_folder, 2)
        assert newest(run_folder) == 2


def test_an_older_damaged_checkpoint_stays_with_and_without_a_list(run_folder: Path) -> None:
    (checkpoint(run_folder, 2) / STATE).write_bytes(b"half")
    write_rows(run_folder, steps=4)
    assert prepare_checkpoints(run_folder) == checkpoint(run_folder, 4)
    lose_list(run_folder)
    assert prepare_checkpoints(run_folder) == checkpoint(run_folder, 4)
    assert (checkpoint(run_folder, 2) / STATE).read_bytes() == b"half"


def test_without_list_and_rows_decisions_tell_what_was_recorded(run_folder: Path) -> None:
    """Rows that were lost with the list do not make a leftover of a whole checkpoint."""
    lose_list(run_folder)
    lines = [json.dumps({"step": step, "version": step + 1}) for step in range(4)]
    (run_folder / "decisions.jsonl").write_text("\n".join([*lines, '{"st']))
    assert prepare_checkpoints(run_folder) == checkpoint(run_folder, 4)


def test_a_refused_checkpoint_leaves_its_list_and_everything_else_alone(run_folder: Path) -> None:
    """With the list, as without: first the check, then the changes."""
    shutil.rmtree(checkpoint(run_folder, 2))  # dropped from the list only once the run resumes
    write_checkpoint(run_folder, 6, block(6))
    (checkpoint(run_folder, 4) / STATE).write_bytes(b"")
    before = content(run_folder)
    with pytest.raises(ResumeError, match="is empty"):
        prepare_checkpoints(run_folder)
    assert content(run_folder) == before


def test_what_a_dead_process_was_writing_is_removed_and_nothing_else(run_folder: Path) -> None:
    unlisted = checkpoint(run_folder, 6)
    unlisted.mkdir()
    (unlisted / f"{STATE}.77.partial").write_bytes(b"half")
    part = run_folder / "policy.part"
    part.mkdir()
    (part / "model.safetensors").write_bytes(b"half")
    (run_folder / "config.yaml.7.partial").touch()
    kept = [run_folder / "rows.jsonl", run_folder / "policy" / "config.json", checkpoint(run_folder, 2) / STATE]
    kept[1].parent.mkdir()
    copied = run_folder / CHECKPOINTS / "checkpoint_00000004-copy"
    copied.mkdir()
    for path in kept[:2]:
        path.touch()
    remove_leftovers(run_folder)
    prepare_checkpoints(run_folder)
    assert not [*run_folder.rglob("*.part*")]
    assert not unlisted.exists()
    assert all(path.exists() for path in [*kept, copied])


def test_a_run_of_an_older_version_is_refused_not_begun_anew(run_folder: Path) -> None:
    (checkpoint(run_folder, 4) / STATE).rename(checkpoint(run_folder, 4) / "state.pt")
    with pytest.raises(ResumeError, match=r"state\.safetensors is missing"):
        prepare_checkpoints(run_folder)


# --- a worker's state ---


def test_a_workers_state_survives_bit_for_bit() -> None:
    process = start(tiny_config())
    process.run(2)
    state = process.worker.state_dict()
    again = decode_state(encode_state(state), "state")
    assert all(again[name] == state[name] for name in ("step", "prompts", "controller"))
    assert again["model"].keys() == state["model"].keys()
    assert all(torch.equal(again["model"][name], value) for name, value in state["model"].items())
    assert again["optimizer"].keys() == state["optimizer"].keys()
    for index, moments in state["optimizer"].items():
        assert again["optimizer"][index].keys() == moments.keys() == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(again["optimizer"][index][name], value) for name, value in moments.items())


def test_tied_parameters_are_stored_once_and_come_back_under_both_names() -> None:
    weight, other = torch.arange(1000.0), torch.ones(1000)
    model = {"embed": weight, "head": weight, "part": weight[:500], "other": other}
    state = {"step": 0, "prompts": "", "model": model, "optimizer": {}, "controller": {}}
    block = encode_state(state)
    assert len(block) < 4 * 2500 + 1000
    again = decode_state(block, "state")["model"]
    assert {name: value.tolist() for name, value in again.items()} == {n: v.tolist() for n, v in model.items()}
    assert again["embed"] is again["head"]


def test_a_damaged_state_changes_nothing_in_the_worker() -> None:
    process, twin = start(tiny_config()), start(tiny_config())
    process.run(1), twin.run(1)
    state = process.state_bytes()
    with pytest.raises(ResumeError, match=r"the worker's state is damaged"):
        process.load_state_bytes(state[:-1])
    (row,), (other,) = process.run(1), twin.run(1)
    assert (row.loss, row.tau) == (other.loss, other.tau)
