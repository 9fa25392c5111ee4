"""The terminal and the results page tell the same of a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from maxent_ray.dashboard.run_reader import RunReader
from maxent_ray.report import run_status as module
from maxent_ray.report.live.live_run import LiveRun
from maxent_ray.report.run_status import Status, is_running
from maxent_ray.storage.driver_lock import LOCK, driver_lock
from tests.report.results_folder import write_results
from tests.report.sweep_folder import finish, write_sweep

UNFINISHED = "analytic-8"


def by_page(folder: Path) -> Status:
    run = RunReader(folder)
    run.refresh()
    return run.status


def by_terminal(folder: Path) -> Status:
    run = LiveRun(folder)
    while run.update():
        pass
    return run.status()


def leave(folder: Path, *, holder: str | None = None) -> None:
    """Age the records; ``holder`` as another machine's driver writes it."""
    for path in folder.glob("*.jsonl"):
        os.utime(path, (1e9, 1e9))
    if holder is not None:
        (folder / LOCK).write_text(holder)


@pytest.fixture(params=[by_page, by_terminal])
def told(request: pytest.FixtureRequest) -> Callable[[Path], Status]:
    return request.param  # type: ignore[no-any-return]


def test_a_run_is_running_while_its_driver_has_the_lock(tmp_path: Path, told: Callable[[Path], Status]) -> None:
    folder = write_sweep(tmp_path / "a", unfinished=[UNFINISHED])
    with driver_lock(folder):
        leave(folder)
        assert told(folder) == Status("running")
    resume = f"continue it with maxent-ray sweep --resume {folder}"
    assert told(folder) == Status("interrupted", f"It was interrupted: {resume}")


@pytest.mark.parametrize(("holder", "where"), [("1 another-host\n", "on another-host"), (None, "elsewhere")])
def test_without_a_lock_to_go_by_it_is_running_while_its_records_grow(
    holder: str | None, where: str, tmp_path: Path, told: Callable[[Path], Status]
) -> None:
    folder = write_sweep(tmp_path / "a", unfinished=[UNFINISHED])
    if holder is not None:
        (folder / LOCK).write_text(holder)
    assert told(folder).state == "running"
    leave(folder)
    status = told(folder)
    assert status.state == "interrupted" and f"unless its driver {where} is at work, continue it" in status.message


def test_where_the_system_tells_of_no_locks_its_records_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCKS", tmp_path / "none")
    folder = write_sweep(tmp_path / "a")
    with driver_lock(folder):
        assert is_running(folder)
        leave(folder)
        assert not is_running(folder)


def test_it_failed_if_it_left_a_trace_or_a_trial_did(tmp_path: Path, told: Callable[[Path], Status]) -> None:
    folder = finish(write_sweep(tmp_path / "a", unfinished=[UNFINISHED]))
    for trial in (UNFINISHED, "analytic-0"):  # the second one went on and finished
        (folder / "tune" / trial).mkdir(parents=True)
        (folder / "tune" / trial / "error.txt").write_text("RuntimeError: out of memory\n")
    status = told(folder)
    assert status.state == "failed" and status.message.startswith(f"1 trial(s) failed ({UNFINISHED}); once the cause")
    (folder / "error.txt").write_text("Traceback\n  line\nRuntimeError: no GPU\n")
    assert told(folder).message.startswith("The run failed: RuntimeError: no GPU; once the cause is gone, continue it")


def test_it_is_finished_with_the_last_evaluation_and_the_summary(
    tmp_path: Path, told: Callable[[Path], Status]
) -> None:
    folder = write_sweep(tmp_path / "a", stopped=["analytic-2"])
    with driver_lock(folder):
        pass
    assert told(folder).state == "interrupted"
    assert told(finish(folder)) == Status("finished")
    shutil.rmtree(folder)
    assert told(finish(write_results(folder))) == Status("finished"), "of before trials were planned"


def test_before_the_first_record_nothing_is_said_to_be_kept(tmp_path: Path, told: Callable[[Path], Status]) -> None:
    folder = finish(write_sweep(tmp_path / "a"))
    for path in folder.glob("*.jsonl"):
        path.unlink()
    status = told(folder)
    assert status.state == "interrupted" and status.message.startswith("Nothing was recorded yet, and no driver is at")
    assert status.message.endswith(f"maxent-ray train --resume {folder}")
