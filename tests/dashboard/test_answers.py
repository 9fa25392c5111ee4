"""Answers about a run agree with its summary, in strict JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.dashboard.answers import details, overview, series
from maxent_ray.dashboard.thinning import thin
from maxent_ray.report.run_records import read_run
from maxent_ray.report.summary import build_summary
from maxent_ray.report.tables.comparison import comparison_lines
from maxent_ray.storage.driver_lock import driver_lock
from tests.dashboard.pages import opened
from tests.report.results_folder import STEPS, row, write_lines, write_results
from tests.report.sweep_folder import write_sweep


def test_figures_are_those_of_the_summary(tmp_path: Path) -> None:
    answer = details(opened(write_results(tmp_path / "demo")))
    json.dumps(answer, allow_nan=False)
    expected = build_summary(read_run(tmp_path / "demo"))
    assert [trial["trial"] for trial in answer["trials"]] == [trial.trial for trial in expected.trials]
    for found, trial in zip(answer["trials"], expected.trials, strict=True):
        assert found["score"] == pytest.approx(trial.score)
        assert (found["steps"], found["objective"]) == (trial.steps, trial.objective)
        assert (found["clones_received"], found["clones_donated"]) == (trial.clones_received, trial.clones_donated)
        assert found["state"] == "finished" and found["settings"] == trial.settings
        assert answer["reasons"].get(found["trial"], {}) == trial.reasons
    rows = answer["comparison"]["rows"]
    assert [row["label"]["text"] for row in rows] == [line.label for line in comparison_lines(expected)]
    for found_row, line in zip(rows, comparison_lines(expected), strict=True):
        assert [found_row[metric]["text"] for metric in METRICS] == [" ".join(cell).strip() for cell in line.held_out]
        assert (found_row["entropy_error"]["text"], found_row["kl_error"]["text"]) == (
            line.entropy_error,
            line.kl_error,
        )
        assert found_row["seconds"]["text"] == line.seconds
    assert {each["key"] for each in answer["comparison"]["columns"]} == set(rows[0])


def test_a_run_in_the_list_has_its_progress(tmp_path: Path) -> None:
    found = overview(opened(write_results(tmp_path / "demo")))
    assert (found["id"], found["kind"], found["trials"]) == ("demo", "compare", 11)
    assert found["steps_done"] == found["steps_total"] == 10 * STEPS
    assert len(found["sparkline"]) == 60 and 0.2 < found["sparkline"][0] < 0.4
    assert found["started"].endswith("+00:00")


def test_a_trial_that_failed_has_its_reason(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "demo", evaluations=False)
    with driver_lock(folder):
        assert opened(folder).status.state == "running"
    (folder / "tune" / "analytic-0").mkdir(parents=True)
    (folder / "tune" / "analytic-0" / "error.txt").write_text("Traceback\n  line\nRuntimeError: out of memory\n")
    run = opened(folder)
    assert run.status.state == "failed" and "analytic-0" in run.status.message
    trial = next(trial for trial in details(run)["trials"] if trial["trial"] == "analytic-0")
    assert (trial["state"], trial["message"]) == ("failed", "RuntimeError: out of memory")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "has no config.yaml"),
        ("train: {steps: 0}", "another version"),
        ("\0: [", "another version"),
        ("a" * 2**21, "none of ours"),
    ],
)
def test_a_folder_that_is_no_run_of_ours_says_what_to_do(tmp_path: Path, config: str | None, said: str) -> None:
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"b"')
    run = opened(tmp_path)
    assert run.status.state == "unreadable" and said in run.status.message
    answer = details(run)
    assert answer["trials"] == () and answer["kind"] == ""


def test_evaluations_of_another_version_are_counted_and_left_out(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "demo")
    with (folder / "evaluations.jsonl").open("a") as out:
        out.write('{"trial": "x", "objective": "o", "metrics": {"mean": 1}}\n')
        out.write('{"trial": "y", "objective": "o", "metrics": {"per_prompt": {"mean": 3}}}\n')
    answer = details(opened(folder))
    assert answer["counts"]["torn_lines"] == 2 and len(answer["held_out"]) == 11


def test_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    import os

    folder, secret = write_results(tmp_path / "demo"), tmp_path / "secret"
    secret.write_text(json.dumps(row("stolen", "o", 1)) + "\n")
    (folder / "rows.jsonl").unlink()
    (folder / "rows.jsonl").symlink_to(secret)
    (folder / "decisions.jsonl").unlink()
    os.mkfifo(folder / "decisions.jsonl")
    assert "stolen" not in opened(folder).rows.trials


def test_a_run_is_kept_up_with(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "demo", evaluations=False)
    run = opened(folder)
    version = run.version
    assert not run.refresh() and run.version == version
    with (folder / "rows.jsonl").open("a") as out:
        out.write(json.dumps(row("analytic-0", "analytic", STEPS)) + "\n")
    assert run.refresh() and run.version > version
    assert run.rows.trials["analytic-0"].last_step == STEPS + 1
    restarts = run.restarts
    write_lines(folder / "rows.jsonl", [row("new", "analytic", 0)])
    assert run.refresh() and list(run.rows.trials) == ["new"] and run.restarts > restarts


def test_curves_are_thinned_with_their_extremes_and_exact_when_zoomed(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "demo")
    rows = [row("a", "analytic", step, tau=None if step == 7 else 9.0 if step == 1234 else 0.5) for step in range(3000)]
    write_lines(folder / "rows.jsonl", rows)
    run = opened(folder)
    whole = series(run, ["tau"], points=100)[0]
    assert not whole["exact"] and 50 <= len(whole["step"]) <= 104 and max(filter(None, whole["value"])) == 9.0
    assert whole["step"][0] == 1 and whole["step"][-1] == 3000
    zoomed = series(run, ["tau", "beta"], "a", 5, 10)
    assert [each["signal"] for each in zoomed] == ["tau", "beta"]
    assert zoomed[0]["step"] == [5, 6, 7, 8, 9, 10] and zoomed[0]["value"][3] is None and zoomed[0]["exact"]
    assert series(run, ["tau"], "nobody") == []


@pytest.mark.parametrize("count", [2, 99, 100, 101, 1000, 12345])
def test_thinning_keeps_both_ends_and_the_order(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count)
    values[count // 2] = np.nan
    found = thin(np.arange(count), values, 100)
    assert found.steps[0] == 0 and found.steps[-1] == count - 1 and (np.diff(found.steps) > 0).all()
    assert np.nanmax(found.values) == np.nanmax(values) and np.nanmin(found.values) == np.nanmin(values)
    assert len(found.steps) <= 102


def test_a_sweep_has_every_point_and_other_runs_none(tmp_path: Path) -> None:
    points = details(opened(write_sweep(tmp_path / "targets", stopped=["analytic-2"])))["points"]
    assert [column["label"] for column in points["columns"]][:: len(points["columns"]) - 1] == ["trial", "front"]
    lines = {row["trial"]["text"]: row["front"]["text"] for row in points["rows"]}
    assert lines["analytic-2"].startswith("at ") and "•" in lines.values()
    assert details(opened(write_results(tmp_path / "demo")))["points"]["rows"] == []
