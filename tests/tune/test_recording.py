from __future__ import annotations

import json
from pathlib import Path

import pytest

from maxent_ray.errors import RecordingError
from maxent_ray.storage.run_files import read_rows, read_samples
from maxent_ray.tune.recording import Recorder
from maxent_ray.tune.trial_spec import TrialSpec
from tests.tune.toy import SAMPLE


class Listener:
    def __init__(self) -> None:
        self.rows: list[tuple[str, str, int, int]] = []
        self.steps = 0

    def update(self, trial: str, objective: str, row: dict[str, object], clones: int) -> None:
        self.rows.append((trial, objective, int(str(row["step"])), clones))

    def state(self, trial: str, state: str) -> None: ...

    def advance(self, steps: int) -> None:
        self.steps += steps


def row(step: int, reward: float = 0.0, rank: int = 0) -> dict[str, object]:
    return {"trial": "analytic-0", "segment": 1, "step": step, "rank": rank, "reward": reward}


def result(rows: list[dict[str, object]]) -> dict[str, object]:
    config = TrialSpec("analytic-0", "analytic", "{}", {"a": 1}, segment=1).to_config()
    return {"rows": rows, "decisions": [{"version": 1}], "config": config, "steps": 2}


def test_results_are_recorded_passed_on_and_taken_out_of_tunes(tmp_path: Path) -> None:
    listener = Listener()
    recorder = Recorder(tmp_path, [listener])
    small = result([row(0), row(1)])
    recorder.on_trial_result(1, [], None, small)
    evaluation = {"metrics": {"mean": 0.5}, "samples": [SAMPLE]}
    recorder.on_trial_result(2, [], None, {**result([row(2)]), "evaluation": evaluation})
    assert [r["step"] for r in read_rows(tmp_path / "rows.jsonl")] == [0, 1, 2]
    assert len((tmp_path / "decisions.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "evaluations.jsonl").read_text()) == {
        "trial": "analytic-0",
        "objective": "analytic",
        "settings": {"a": 1},
        "metrics": {"mean": 0.5},
    }
    assert read_samples(tmp_path / "samples.jsonl") == [
        {"trial": "analytic-0", "objective": "analytic", "step": 2, **SAMPLE}
    ]
    assert listener.rows == [("analytic-0", "analytic", 1, 1), ("analytic-0", "analytic", 2, 1)]
    assert listener.steps == 3
    assert not {"rows", "decisions", "evaluation"} & small.keys()


def test_steps_that_are_trained_again_count_once(tmp_path: Path) -> None:
    listener = Listener()
    recorder = Recorder(tmp_path, [listener])
    recorder.on_trial_result(1, [], None, result([row(0), row(1, 0.1)]))
    recorder.on_trial_result(2, [], None, result([row(1, 0.9), row(2)]))
    assert [(r["step"], r["reward"]) for r in read_rows(tmp_path / "rows.jsonl")] == [
        (0, 0.0),
        (1, 0.9),
        (2, 0.0),
    ]
    assert listener.steps == 3


def test_ranks_are_kept_apart(tmp_path: Path) -> None:
    Recorder(tmp_path).on_trial_result(1, [], None, result([row(0, rank=0), row(0, rank=1)]))
    assert [r["rank"] for r in read_rows(tmp_path / "rows.jsonl")] == [0, 1]


def test_half_a_line_is_skipped_by_readers_and_cut_off_when_recording_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    Recorder(tmp_path).on_trial_result(1, [], None, result([row(0)]))
    with path.open("a") as file:
        file.write('{"trial": "analytic-0", "ste')
    assert len(read_rows(path)) == 1
    Recorder(tmp_path).on_trial_result(2, [], None, result([row(1)]))
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_says_so_and_what_to_do(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    (tmp_path / "rows.jsonl").unlink()
    (tmp_path / "rows.jsonl").symlink_to("/dev/full")
    with pytest.raises(RecordingError, match=r"rows\.jsonl: No space left.*free some space"):
        recorder.on_trial_result(1, [], None, result([row(0)]))
    assert recorder.failure is not None
