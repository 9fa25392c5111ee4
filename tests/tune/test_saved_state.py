"""Tune's own state, cut off at every place where a kill may cut it: a run goes on from the copy that was whole."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from maxent_ray.config.loading import load_config
from maxent_ray.errors import ResumeError
from maxent_ray.storage.run_files import TUNE_FOLDER
from maxent_ray.tune.execution import open_folder
from maxent_ray.tune.saved_state import KEPT, KeepState, restore_state

TRIALS, SEARCH = "experiment_state-2026-01-0{}.json", "basic-variant-state-2026-01-0{}.json"


def trials_file(progress: int) -> str:
    return json.dumps({"trial_data": [["{}", str(progress)]], "runner_data": {"_iteration": progress}, "stats": {}})


def write(folder: Path, session: int, progress: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / TRIALS.format(session)).write_text(trials_file(progress))
    (folder / SEARCH.format(session)).write_bytes(pickle.dumps({"progress": progress}))


def read(folder: Path) -> list[int]:
    """What Tune would read: the newest of each."""
    trials = json.loads(max(folder.glob("experiment_state-*")).read_text())["trial_data"]
    search = pickle.loads(max(folder.glob("basic-variant-state-*")).read_bytes())
    return [int(trials[0][1]), search["progress"]]


@pytest.mark.parametrize("session", [1, 2])
@pytest.mark.parametrize("half", [TRIALS, SEARCH])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_what_was_cut_off_is_replaced_by_the_last_whole_copy(
    session: int, half: str, share: float, tmp_path: Path
) -> None:
    keeper = KeepState(tmp_path)
    keeper.on_step_end(0, [])  # nothing there yet
    write(tmp_path, 1, progress=1)
    keeper.on_step_end(1, [])
    write(tmp_path, session, progress=2)
    path = tmp_path / half.format(session)
    path.write_bytes(path.read_bytes()[: int(len(path.read_bytes()) * share)])
    keeper.on_step_end(2, [])  # sees half a file: what it kept stays
    assert restore_state(tmp_path, recorded=True)
    assert read(tmp_path) == [1, 1]


def test_a_whole_state_is_left_alone_and_only_the_newest_is_kept(tmp_path: Path) -> None:
    keeper = KeepState(tmp_path)
    for session in (1, 2):
        write(tmp_path, session, progress=session)
        keeper.on_step_end(session, [])
    assert sorted(path.name for path in (tmp_path / KEPT).iterdir()) == [SEARCH.format(2), TRIALS.format(2)]
    write(tmp_path, 2, progress=3)
    assert restore_state(tmp_path, recorded=True)
    assert read(tmp_path) == [3, 3]


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cut(folder: Path) -> None:
    for path in folder.glob("experiment_state-*"):
        path.write_bytes(path.read_bytes()[:-7])


def test_before_anything_was_recorded_a_run_begins_anew(tmp_path: Path) -> None:
    assert not restore_state(tmp_path / "never made", recorded=False)
    write(tmp_path, 1, progress=1)
    cut(tmp_path)
    assert not restore_state(tmp_path, recorded=False)
    assert not list(tmp_path.glob("*.json"))


def test_recorded_rows_are_not_begun_anew_over(tmp_path: Path) -> None:
    """Named, and nothing touched; with either pair of files copied back the run goes on."""
    tune = tmp_path / "toy" / "tune"
    tune.mkdir(parents=True)
    refused = rf"cannot resume {tune.parent}: .* in {tune} is gone or damaged, .*{tune / KEPT}.*another --name"
    with pytest.raises(ResumeError, match=refused):
        restore_state(tune, recorded=True)
    write(tune, 1, progress=1)
    KeepState(tune).on_step_end(0, [])
    saved = {path: path.read_bytes() for path in (tune / KEPT).iterdir()}
    cut(tune), cut(tune / KEPT)
    before = content(tune)
    with pytest.raises(ResumeError, match=refused):
        restore_state(tune, recorded=True)
    assert content(tune) == before
    for path, good in saved.items():
        path.write_bytes(good)
    assert restore_state(tune, recorded=True)
    assert read(tune) == [1, 1]


NO_STATE = {
    "no object": "[]",
    "no trials": json.dumps({"trial_data": [], "runner_data": {}}),
    "trials without what they did": json.dumps({"trial_data": ["{}"], "runner_data": {}}),
    "half a pair": json.dumps({"trial_data": [["{}"]], "runner_data": {}}),
    "trials alone": json.dumps({"trial_data": [["{}", "1"]]}),
    "no runner": json.dumps({"trial_data": [["{}", "1"]], "runner_data": None}),
    "another encoding": "\udcff",
}


@pytest.mark.parametrize("state", NO_STATE.values(), ids=NO_STATE)
def test_json_that_tune_could_not_restore_from_is_neither_kept_nor_taken(state: str, tmp_path: Path) -> None:
    write(tmp_path, 1, progress=1)
    keeper = KeepState(tmp_path)
    keeper.on_step_end(0, [])
    (tmp_path / TRIALS.format(1)).write_text(state, errors="surrogateescape")
    keeper.on_step_end(1, [])
    assert restore_state(tmp_path, recorded=True)
    assert read(tmp_path) == [1, 1]


def test_what_is_no_pickle_is_neither_kept_nor_taken(tmp_path: Path) -> None:
    write(tmp_path, 1, progress=1)
    (tmp_path / SEARCH.format(1)).write_bytes(b"a sentence.")
    KeepState(tmp_path).on_step_end(0, [])
    assert not (tmp_path / KEPT).exists()
    assert not restore_state(tmp_path, recorded=False)


def test_a_run_begins_anew_only_while_it_has_no_rows(tmp_path: Path) -> None:
    """Half a row was being written: none is recorded yet."""
    config = load_config()
    open_folder(tmp_path, config, resume=False)
    (tmp_path / "rows.jsonl").write_text('{"trial": "analytic-0", "st')
    assert not open_folder(tmp_path, config, resume=True)
    (tmp_path / "rows.jsonl").write_text('{"trial": "analytic-0", "step": 0, "rank": 0}\n')
    with pytest.raises(ResumeError, match=rf"cannot resume {tmp_path}: it has recorded rows"):
        open_folder(tmp_path, config, resume=True)
    write(tmp_path / TUNE_FOLDER, 1, progress=1)
    assert open_folder(tmp_path, config, resume=True)
