"""Records go into the folder that the driver has locked, and into no other that is at its path by now."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from maxent_ray.errors import RecordingError
from maxent_ray.storage.driver_lock import LOCK, driver_lock
from maxent_ray.storage.records import Records
from maxent_ray.storage.run_files import CONFIG, ROWS, recorded_trial

ROW = {"trial": "first", "step": 0, "rank": 0}
MOVED = r"first is no longer this run's folder: it was moved, renamed or removed.*results are kept.*--resume"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "first"
    folder.mkdir()
    (folder / CONFIG).touch()
    return folder


def test_they_begin_no_second_folder(folder: Path) -> None:
    with driver_lock(folder):
        records = pickle.loads(pickle.dumps(Records(folder)))  # as on its way to another process
        records.append(ROWS, [ROW])
        moved = folder.rename(folder.with_name("second"))
        with pytest.raises(RecordingError, match=MOVED):
            records.append(ROWS, [ROW])
        folder.mkdir()  # as Tune does
        with pytest.raises(RecordingError, match=MOVED):
            records.append(ROWS, [ROW])
        assert list(folder.iterdir()) == []
        folder.rmdir()
        moved.rename(folder)
        records.append(ROWS, [ROW])
    assert len((folder / ROWS).read_text().splitlines()) == 2


def test_they_do_not_go_into_the_folder_of_another_run_of_that_name(folder: Path) -> None:
    with driver_lock(folder):
        records = Records(folder)
        folder.rename(folder.with_name("second"))
        folder.mkdir()
        (folder / CONFIG).touch()
        (folder / LOCK).write_text("4711 elsewhere\n")
        with pytest.raises(RecordingError, match=MOVED):
            records.append(ROWS, [ROW])
    assert not (folder / ROWS).exists()


def test_a_run_does_not_end_because_its_lock_file_was_removed(folder: Path) -> None:
    with driver_lock(folder):
        records = Records(folder)
        (folder / LOCK).unlink()
        records.append(ROWS, [ROW])
    assert (folder / ROWS).is_file()


def test_storage_without_locks_is_written_to(folder: Path) -> None:
    records = Records(folder)  # nobody could say who the driver is
    records.append(ROWS, [ROW])
    assert (folder / ROWS).is_file()


def test_a_renamed_run_keeps_the_name_in_its_records(folder: Path) -> None:
    assert recorded_trial(folder) is None
    Records(folder).append(ROWS, [ROW])
    assert recorded_trial(folder.rename(folder.with_name("second"))) == "first"
