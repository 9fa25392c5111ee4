from __future__ import annotations

import io
import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from rich.console import Console

from maxent_ray.errors import ConfigError
from maxent_ray.report.live.braille import curve
from maxent_ray.report.live.live_run import LiveRun
from maxent_ray.report.live.view import picture
from maxent_ray.storage.driver_lock import driver_lock
from tests.report.results_folder import row, write_lines, write_results
from tests.report.sweep_folder import STOPPED_AT, finish, write_sweep


def shown(run: LiveRun, width: int = 120, height: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(picture(run, width, height))
    return capture.get()


def watched(folder: Path) -> LiveRun:
    run = LiveRun(folder)
    run.update()
    return run


def test_a_finished_run_is_shown_with_all_its_parts(tmp_path: Path) -> None:
    run = watched(finish(write_sweep(tmp_path / "a", stopped=["analytic-2"])))
    text = shown(run)
    assert run.status().state == "finished"
    states = {line.trial: line.state for line in run.lines(run.status())}
    assert states == {
        **{f"analytic-{i}": "done" for i in range(9)},
        "analytic-2": f"stopped at {STOPPED_AT}",
        **dict.fromkeys(("warm_start", "grpo", "fixed"), "done"),
    }
    for part in ("finished", "policy steps", "analytic-8", "held-out", "coverage@8", "KL*", "τ", "β"):
        assert part in text


def test_rows_that_are_added_move_the_picture(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a", evaluations=False, references=False)
    write_lines(folder / "rows.jsonl", [row("analytic-0", "analytic", step) for step in range(10)])
    run = watched(folder)
    assert "10/60" in shown(run) and not run.update()
    with (folder / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row("analytic-0", "analytic", 10, kl=float("nan"), reward=None)) + "\n" + '{"trial": "an')
    assert run.update()
    text = shown(run, width=100)
    assert "11/60" in text and "–/0.050" in text
    assert run.curves["analytic-0"]["kl"].last is None


def test_the_heading_has_the_process_of_a_running_run_or_what_continues_it(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "a", unfinished=["analytic-8"])
    with driver_lock(folder):
        assert watched(folder).ended is None
        heading = f"running, process {os.getpid()} on {socket.gethostname()} (last row 0:0"
        assert heading in shown(watched(folder), width=400)
    run = watched(folder)
    assert f"continue it with maxent-ray sweep --resume {folder} (last row" in shown(run, width=400)
    assert {line.trial: line.state for line in run.lines(run.status())}["analytic-8"] == "not finished"
    (folder / "tune" / "analytic-8").mkdir(parents=True)
    (folder / "tune" / "analytic-8" / "error.txt").write_text("RuntimeError: out of memory\n")
    run = watched(folder)
    assert {line.trial: line.state for line in run.lines(run.status())}["analytic-8"] == "failed"


def test_progress_counts_what_is_planned_less_what_was_stopped(tmp_path: Path) -> None:
    run = watched(write_sweep(tmp_path / "a", stopped=["analytic-2"], unfinished=["analytic-8"], references=False))
    assert run.left is not None
    assert (run.left.done, run.left.total) == (7 * 30 + STOPPED_AT + 15, 8 * 30 + STOPPED_AT)


def test_before_the_first_row_the_planned_trials_wait(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "a")
    for name in ("rows", "evaluations"):
        (folder / f"{name}.jsonl").unlink()
    run = watched(folder)
    assert {line.state for line in run.lines(run.status())} == {"waiting"}
    assert "no row yet" in shown(run)


def test_records_that_are_written_anew_are_read_anew(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a", evaluations=False, references=False)
    run = watched(folder)
    write_lines(folder / "rows.jsonl", [row("mine", "analytic", 0)])
    run.update()
    assert [line.trial for line in run.lines(run.status()) if line.row] == ["mine"]


def test_lines_that_are_no_record_are_counted_once(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a", evaluations=False, references=False)
    (folder / "rows.jsonl").write_bytes(b'not json\n[1]\n\n\xff\xfe\n{"kl": NaN}\n{"tri')
    run = watched(folder)
    assert run.torn == 3 and not run.update() and run.torn == 3
    assert "(3 line(s) of the records cannot be read)" in shown(run, width=400)


def test_a_small_terminal_gets_the_first_parts(tmp_path: Path) -> None:
    run = watched(write_sweep(tmp_path / "a"))
    for height in (12, 24, 50):
        for width in (40, 80, 120):
            assert len(shown(run, width, height).splitlines()) <= height
    assert "… and" in shown(run, 80, 12)


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    write_results(tmp_path / "runs" / "first")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("train: {stepz: 3}")
    for name, said in {
        "nowhere": "does not exist",
        "empty": "holds no run (it has no config.yaml); if one is just starting",
        "runs": f"its folders hold some: {tmp_path / 'runs' / 'first'}",
        "other": "of another version of maxent-ray: watch it with the version that wrote it",
    }.items():
        with pytest.raises(ConfigError) as found:
            LiveRun(tmp_path / name)
        assert said in str(found.value)
    with pytest.raises(ConfigError, match="no local folder"):
        LiveRun(Path("s3://bucket/run"))


def test_a_folder_that_is_removed_meanwhile_ends_it(tmp_path: Path) -> None:
    run = watched(write_results(tmp_path / "a"))
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(ConfigError, match="is gone: it was moved, renamed or removed"):
        run.update()


def test_curves_are_as_wide_and_as_high_as_asked_whatever_they_hold() -> None:
    for values in ([], [None, None], [1.0], [0.0] * 5, [float(i) for i in range(1000)], [0.1 + 0.2, 0.3] * 9):
        for log in (False, True):
            lines = curve(values, [1.0] * len(values), 12, 3, colour="blue", log=log)
            assert [len(line.plain) for line in lines] == [12, 12, 12]
    flat = curve([0.1 + 0.2, 0.3] * 9, [], 9, 1, colour="blue")
    assert len(set(flat[0].plain)) == 1, "averages that differ by rounding are flat"
