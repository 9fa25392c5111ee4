"""Tune's own state, cut off at every place where a kill may cut it: a run goes on from the copy that was whole."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from maxent_ray.tune.saved_state import KEPT, KeepState, mend_state

TRIALS, SEARCH = "experiment_state-2026-01-0{}.json", "basic-variant-state-2026-01-0{}.json"


def write(folder: Path, session: int, progress: int) -> None:
    (folder / TRIALS.format(session)).write_text(json.dumps({"trial_data": [progress]}))
    (folder / SEARCH.format(session)).write_bytes(pickle.dumps({"progress": progress}))


def read(folder: Path) -> list[int]:
    """What Tune would read: the newest of each."""
    trials = json.loads(max(folder.glob("experiment_state-*")).read_text())["trial_data"]
    return [*trials, pickle.loads(max(folder.glob("basic-variant-state-*")).read_bytes())["progress"]]


@pytest.mark.parametrize("session", [1, 2])
@pytest.mark.parametrize("cut", [TRIALS, SEARCH])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_what_was_cut_off_is_replaced_by_the_last_whole_copy(
    session: int, cut: str, share: float, tmp_path: Path
) -> None:
    keeper = KeepState(tmp_path)
    keeper.on_step_end(0, [])  # nothing there yet
    write(tmp_path, 1, progress=1)
    keeper.on_step_end(1, [])
    write(tmp_path, session, progress=2)
    path = tmp_path / cut.format(session)
    path.write_bytes(path.read_bytes()[: int(len(path.read_bytes()) * share)])
    keeper.on_step_end(2, [])  # sees half a file: what it kept stays
    assert mend_state(tmp_path)
    assert read(tmp_path) == [1, 1]


def test_a_whole_state_is_left_alone_and_only_the_newest_is_kept(tmp_path: Path) -> None:
    keeper = KeepState(tmp_path)
    for session in (1, 2):
        write(tmp_path, session, progress=session)
        keeper.on_step_end(session, [])
    assert sorted(path.name for path in (tmp_path / KEPT).iterdir()) == [SEARCH.format(2), TRIALS.format(2)]
    write(tmp_path, 2, progress=3)
    assert mend_state(tmp_path)
    assert read(tmp_path) == [3, 3]


def test_without_any_whole_state_a_run_begins_anew(tmp_path: Path) -> None:
    assert not mend_state(tmp_path / "never made")
    (tmp_path / TRIALS.format(1)).write_text('{"trial')
    assert not mend_state(tmp_path)
    assert not list(tmp_path.glob("*.json"))
