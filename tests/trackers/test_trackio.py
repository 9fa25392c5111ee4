"""Runs where Trackio is installed: it is an extra of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # Trackio reads it when it is imported
    return pytest.importorskip("trackio")


def test_each_trial_has_a_run_that_a_resumed_job_continues(
    trackio: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from maxent_ray.trackers.trackio_tracker import TrackioTracker
    from tests.trackers.growing import two_sessions

    folder = tmp_path / "demo"
    folder.mkdir()
    two_sessions(folder, TrackioTracker)
    runs = {run.name: run for run in trackio.Api().runs("demo")}
    assert sorted(runs) == ["a", "b"]
    assert runs["a"].config["controller.target_kl"] == 0.05

    from trackio.sqlite_storage import SQLiteStorage

    logged = SQLiteStorage.get_logs("demo", "a")
    assert {line["step"]: line["train/loss"] for line in logged if "train/loss" in line} == {
        1: 1.0,
        2: 1.0,
        3: 2.0,
        4: 2.0,
        5: 2.0,
        6: 2.0,
    }
    assert [line["held_out/pass@8"] for line in logged if "held_out/pass@8" in line] == [1.0]
    assert any("cloned from b" in str(line.get("trial/clone")) for line in logged)
    assert "Trackio" not in capsys.readouterr().out
