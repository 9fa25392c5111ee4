from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maxent_ray.trackers.tensorboard_tracker import TensorBoardTracker
from tests.trackers.growing import evaluate, follow, grow, rows, two_sessions


def accumulated(folder: Path, trial: str) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard" / trial))
    events.Reload()
    return events


def scalars(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_every_step_once_after_a_resume_and_the_later_attempt_counts(tmp_path: Path) -> None:
    two_sessions(tmp_path, TensorBoardTracker)
    events = accumulated(tmp_path, "a")
    assert scalars(events, "train/reward") == [(step, step - 0.5) for step in range(1, 7)]
    assert scalars(events, "train/loss") == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0), (6, 2.0)]
    assert scalars(events, "trial/clones") == [(step, float(step > 4)) for step in range(1, 7)]
    assert scalars(accumulated(tmp_path, "b"), "train/reward") == [(1, 0.5), (2, 1.5)]


def test_names_are_stable_and_what_has_no_value_is_left_out(tmp_path: Path) -> None:
    two_sessions(tmp_path, TensorBoardTracker)
    assert set(accumulated(tmp_path, "a").Tags()["scalars"]) == {
        "controller/entropy",
        "controller/target_entropy",
        "controller/tau",
        "held_out/distinct@8",
        "held_out/mean@8",
        "held_out/pass@8",
        "time/seconds",
        "train/loss",
        "train/reward",
        "trial/clones",
    }
    assert scalars(accumulated(tmp_path, "a"), "held_out/pass@8") == [(6, 1.0)]


def test_settings_and_clones_are_texts_and_what_varies_a_hyperparameter(tmp_path: Path) -> None:
    two_sessions(tmp_path, TensorBoardTracker)
    events = accumulated(tmp_path, "a")
    (text,) = events.Tensors("trial/clone/text_summary")
    assert text.tensor_proto.string_val == [b"step 4: cloned from b, with controller.target_kl = 0.06"]
    (text,) = events.Tensors("trial/settings/text_summary")
    assert b"train.seed: 0" in text.tensor_proto.string_val[0]
    start = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"controller.target_kl" in start and b"train.seed" not in start


def test_a_folder_that_moved_is_not_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    grow(folder, rows("a", range(2)))
    follower = follow(folder, TensorBoardTracker(folder))
    folder.rename(tmp_path / "new")
    assert follower.poll()
    assert not folder.exists()
    again = follow(tmp_path / "new", TensorBoardTracker(tmp_path / "new"))
    evaluate(tmp_path / "new", "a")
    assert again.poll()
    assert scalars(accumulated(tmp_path / "new", "a"), "held_out/coverage@8") == [(2, 0.25)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_stops_nothing_and_is_made_up_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grow(tmp_path, rows("a", range(2)))
    follower = follow(tmp_path, TensorBoardTracker(tmp_path))
    (tmp_path / "tensorboard").symlink_to("/dev/full")
    assert not follower.poll() and not follower.poll()
    (tmp_path / "tensorboard").unlink()
    assert follower.poll() and follower.failures == 2
    assert len(caplog.records) == 1
    assert "tensorboard cannot be reached; training continues" in caplog.records[0].message
    assert scalars(accumulated(tmp_path, "a"), "train/reward")[0] == (1, 0.5)
