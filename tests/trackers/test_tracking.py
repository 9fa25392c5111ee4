"""Runs that are followed while they go on, and trackers that fail."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maxent_ray.config.loading import load_config
from maxent_ray.storage.run_files import read_rows
from maxent_ray.trackers import Tracking, TrialStart, follower
from maxent_ray.trackers.tensorboard_tracker import TensorBoardTracker
from maxent_ray.tune.comparison import run_comparison
from tests.trackers.growing import SETTINGS, evaluate, follow, grow, rows
from tests.tune.toy import ToyTrial


class Memory:
    """A tracker and its runs in one: keeps what it is told, and fails as often as it shall."""

    name = "memory"

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.opened: list[TrialStart] = []
        self.logged: dict[str, list[int]] = {}

    def describe(self) -> str:
        return "here"

    def open(self, trial: TrialStart) -> Run:
        self.opened.append(trial)
        return Run(self, trial.name)


class Run:
    def __init__(self, tracker: Memory, trial: str) -> None:
        self.tracker, self.run_id = tracker, f"run of {trial}"
        self.steps = tracker.logged.setdefault(trial, [])

    def log(self, series: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        if self.tracker.failures > 0:
            self.tracker.failures -= 1
            raise ConnectionError("no answer")
        self.steps += [step for step, _ in series]

    def rewind(self, step: int) -> None:
        self.steps.append(-step)

    def clone(self, step: int, text: str, settings: Mapping[str, Any]) -> None: ...

    def finish(self, *, complete: bool) -> None: ...


def test_what_a_tracker_did_not_take_is_logged_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory(failures=2)
    grow(tmp_path, rows("a", range(3)))
    tracked = follow(tmp_path, memory)
    with caplog.at_level(logging.WARNING):
        assert [tracked.poll(last=True) for _ in range(4)] == [False, False, True, True]
    assert memory.logged == {"a": [1, 2, 3]}
    assert len(memory.opened) == 1  # no second run
    assert [record.message for record in caplog.records] == [
        "memory cannot be reached; training continues, and it is tried again (ConnectionError: no answer)"
    ]


def test_a_run_that_a_failure_left_is_continued_by_the_next_session(tmp_path: Path) -> None:
    grow(tmp_path, rows("a", range(3)))
    assert not follow(tmp_path, Memory(failures=1)).poll(last=True)
    memory = Memory()
    assert follow(tmp_path, memory).poll(last=True)
    assert [(start.run_id, start.steps) for start in memory.opened] == [("run of a", 0)]
    assert memory.logged == {"a": [1, 2, 3]}


def test_steps_that_are_trained_again_are_announced(tmp_path: Path) -> None:
    memory = Memory()
    tracked = follow(tmp_path, memory)
    for lines in (rows("a", range(3)), rows("a", range(1, 4))):
        grow(tmp_path, lines)
        assert tracked.poll(last=True)
    assert memory.logged == {"a": [1, 2, 3, -1, 2, 3, 4]}


def test_a_trial_that_is_trained_on_after_its_evaluation_goes_on_in_its_run(tmp_path: Path) -> None:
    memory = Memory()
    tracked = follow(tmp_path, memory)
    evaluate(tmp_path, "warm_start")
    for steps in (range(2), range(2, 4)):
        grow(tmp_path, rows("a", steps))
        evaluate(tmp_path, "a")
        assert tracked.poll()
    assert memory.logged == {"warm_start": [0], "a": [1, 2, 2, 3, 4, 4]}
    assert [(start.name, start.run_id) for start in memory.opened] == [
        ("a", None),
        ("warm_start", None),
        ("a", "run of a"),
    ]


def test_problems_are_told_after_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Tracking(tmp_path, [Memory()], SETTINGS) as whole:
        grow(tmp_path, rows("a", range(3)))
    assert whole.describe() == ["Logging to memory: here"] and whole.problems() == []

    grow(tmp_path, rows("b", range(3)))
    with Tracking(tmp_path, [Memory(failures=9)], SETTINGS) as failing:
        pass
    (problem,) = failing.problems()
    assert problem.startswith("memory failed 1 time(s): ConnectionError: no answer. It lacks records, which")
    assert f"--resume {tmp_path} logs them" in problem

    stuck, freed = Memory(), threading.Event()
    monkeypatch.setattr(stuck, "open", lambda trial: freed.wait())
    monkeypatch.setattr(follower, "CLOSE_S", 0.1)
    with Tracking(tmp_path, [stuck], SETTINGS) as waiting:
        pass
    assert waiting.problems()[0].startswith("memory did not answer in time. It lacks records")
    freed.set()


@pytest.mark.ray
def test_a_comparison_is_logged_step_by_step_with_its_clones(ray_cluster: None, tmp_path: Path) -> None:
    overrides = ["train.steps=10", "tune.perturbation_interval=5", "tune.trials_per_objective=3"]
    config = load_config(overrides=[*overrides, "tune.steps_per_report=2", "train.cpus_per_worker=2"])
    folder = tmp_path / "toy"
    with Tracking(folder, [TensorBoardTracker(folder), memory := Memory()], {}) as tracking:
        run_comparison(config, name="toy", results=tmp_path, trainable=ToyTrial)
    assert tracking.problems() == []
    recorded = read_rows(folder / "rows.jsonl")
    trials = {row["trial"] for row in recorded}
    assert set(memory.logged) == {*trials, "warm_start"}
    clones = 0
    for trial in trials:
        events = EventAccumulator(str(folder / "tensorboard" / trial))
        events.Reload()
        taus = {row["step"] + 1: row["tau"] for row in recorded if row["trial"] == trial}
        assert {event.step: event.value for event in events.Scalars("controller/tau")} == pytest.approx(taus)
        if "trial/clone/text_summary" in events.Tags()["tensors"]:
            clones += len(events.Tensors("trial/clone/text_summary"))
    assert clones == len((folder / "lineage.jsonl").read_text().splitlines()) > 0
