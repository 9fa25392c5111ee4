"""A comparison whose folder is renamed, moved, copied or linked: between two sessions, and during one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.experiment import Experiment, Trial
from ray.tune.search import BasicVariantGenerator

from maxent_ray.config.loading import load_config
from maxent_ray.errors import FolderMovedError
from maxent_ray.storage.run_files import read_rows
from maxent_ray.train.run_folder import RunInterrupted
from maxent_ray.tune import environment
from maxent_ray.tune.comparison import run_comparison
from maxent_ray.tune.execution import RunResult
from maxent_ray.tune.relocation import relocate_state, stage_apart
from maxent_ray.tune.saved_state import SEARCH, TRIALS
from tests.tune.test_comparison import InterruptAfterClones, Listener, clones, in_order
from tests.tune.toy import ToyTrial

pytestmark = pytest.mark.ray

STEPS, INTERVAL = 8, 4
CONFIG = load_config(
    overrides=[
        f"train.steps={STEPS}",
        f"tune.perturbation_interval={INTERVAL}",
        "tune.steps_per_report=2",
        "tune.trials_per_objective=2",
        "tune.objectives=[analytic]",
        "tune.references=false",
        "train.cpus_per_worker=4",
        "train.max_failures=0",
    ]
)


def compare(folder: Path, *, resume: bool = True, listener: Listener | None = None) -> RunResult:
    listeners = [listener] if listener is not None else []
    return run_comparison(
        CONFIG, name=folder.name, results=folder.parent, resume=resume, listeners=listeners, trainable=ToyTrial
    )


def content(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_complete(result: RunResult) -> None:
    """Both trials trained, the clone from its donor's state."""
    assert (set(result.finished), dict(result.failed)) == ({"analytic-0", "analytic-1"}, {})
    rows = {(row["trial"], row["step"]): row for row in read_rows(result.folder / "rows.jsonl")}
    assert len(rows) == 2 * STEPS
    (clone,) = clones(result.folder)
    before, after = rows[clone["donor"], INTERVAL - 1], rows[clone["recipient"], INTERVAL]
    assert after["beta"] == pytest.approx(before["beta"] + clone["new"]["controller.target_kl"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the interrupted run was."""
    return tmp_path_factory.mktemp("results") / "first"


@pytest.fixture(scope="module")
def interrupted(ray_cluster: None, place: Path) -> Path:
    """A run that was interrupted while a clone waited with its donor's checkpoint, moved away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(environment._ENVIRONMENT, "TUNE_GLOBAL_CHECKPOINT_S", "0")
        with pytest.raises(RunInterrupted):
            compare(place, resume=False, listener=InterruptAfterClones(place, 1))
    assert len(read_rows(place / "rows.jsonl")) < 2 * STEPS
    return place.rename(place.with_name("kept"))


def test_moved_below_a_folder_of_its_old_name_and_reached_by_a_link(interrupted: Path, place: Path) -> None:
    """The new path ends with the old one, as where storage is mounted elsewhere."""
    moved = place.parent / "mounted" / place.relative_to("/")
    shutil.copytree(interrupted, moved)
    link = place.with_name("link")
    link.symlink_to(moved)
    check_complete(compare(link))
    assert not place.exists()


def test_a_copy_and_its_original_are_two_runs(interrupted: Path, place: Path) -> None:
    copy = place.with_name("copy")
    for each in (place, copy):
        shutil.copytree(interrupted, each)
    check_complete(compare(copy))
    assert content(place) == content(interrupted)
    check_complete(compare(place))
    assert in_order(read_rows(copy / "rows.jsonl")) == in_order(read_rows(place / "rows.jsonl"))
    sessions = [{path.name for path in (each / "tune").glob("*-state-2*")} for each in (copy, place)]
    assert all(sessions) and not sessions[0] & sessions[1]


class Moved(Listener):
    """Renames the run's folder after some steps."""

    def __init__(self, old: Path, new: Path) -> None:
        super().__init__()
        self._old, self._new = old, new

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None:
        if row["step"] >= INTERVAL and self._old.exists():
            self._old.rename(self._new)


def test_renamed_during_the_run_it_stops_and_goes_on_there(ray_cluster: None, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    with pytest.raises(FolderMovedError, match=rf"{old} is no longer this run's folder.*continue where .* --resume$"):
        compare(old, resume=False, listener=Moved(old, new))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]
    check_complete(compare(new))


class Plain(tune.Trainable): ...


def experiment_in(folder: Path) -> Experiment:
    return Experiment("tune", Plain, config={"trial": tune.choice("abc")}, num_samples=3, storage_path=str(folder))


def test_a_relocated_state_names_today_s_folder_alone(ray_cluster: None, tmp_path: Path) -> None:
    """Also for trials that are yet to be created, and whatever the clock of the next session says."""
    old, new = experiment_in(tmp_path / "old"), experiment_in(tmp_path / "new")
    search = BasicVariantGenerator(points_to_evaluate=[{"trial": name} for name in "abc"])
    search.add_configurations([old])
    trial, folder = search.next_trial(), tmp_path / "new" / "tune"
    trial.create_placement_group_factory()
    trial.init_local_path()
    own, donors = (
        tune.Checkpoint(str(tmp_path / "old" / "tune" / name / "checkpoint_000003")) for name in ("own", "donor")
    )
    trial.run_metadata.checkpoint_manager.register_checkpoint(result(own))
    trial.run_metadata.checkpoint_manager._latest_checkpoint_result = result(donors)
    state = {"trial_data": [trial.get_json_state()], "runner_data": {}}
    (folder / TRIALS.replace("*", "1999-12-31")).write_text(json.dumps(state))
    search.save_to_dir(str(folder), session_str="1999-12-31")

    relocate_state(folder, new.storage)

    (trials,), (saved,) = folder.glob(TRIALS), folder.glob(SEARCH)
    assert trials.name < TRIALS.replace("*", "1970-01-01") and saved.name < SEARCH.replace("*", "1970-01-01")
    ((settings, progress),) = json.loads(trials.read_text())["trial_data"]
    restored = Trial.from_json_state(settings)
    restored.restore_run_metadata(progress)
    manager = restored.run_metadata.checkpoint_manager
    assert restored.storage.trial_fs_path == str(folder / trial.storage.trial_dir_name)
    assert [each.checkpoint.path for each in manager.best_checkpoint_results] == [str(folder / "own/checkpoint_000003")]
    assert manager.latest_checkpoint_result.checkpoint.path == str(folder / "donor/checkpoint_000003")
    search = BasicVariantGenerator()
    search.restore_from_dir(str(folder))
    assert [search.next_trial().storage.experiment_fs_path for _ in range(2)] == [str(folder)] * 2


def result(checkpoint: tune.Checkpoint) -> Any:
    from ray.train._internal.session import _TrainingResult

    return _TrainingResult(checkpoint=checkpoint, metrics={})


def test_runs_that_start_within_one_second_have_staging_folders_of_their_own(ray_cluster: None, tmp_path: Path) -> None:
    experiments = [experiment_in(tmp_path / name) for name in "ab"]
    for each in experiments:
        each.storage._timestamp = "2026-01-01_00-00-00"
        stage_apart(each)
    assert len({each.storage.experiment_driver_staging_path for each in experiments}) == 2
