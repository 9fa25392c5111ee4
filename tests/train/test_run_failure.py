"""The error that a run ends with: cause first, then the place, then advice where it helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from maxent_ray.errors import ConfigError, MaxentRayError, RankLostError, RecordingError
from maxent_ray.runtime.remote_errors import Cause
from maxent_ray.train.run_failure import advise_on_resume, run_error


def test_what_every_resume_meets_again_gives_no_such_advice(tmp_path: Path) -> None:
    error = run_error(Cause(ConfigError, "the model is gone:\n  give another"), "rank 1", tmp_path)
    assert type(error) is ConfigError
    assert str(error) == "the model is gone:\n  give another (rank 1)"


@pytest.mark.parametrize("kind", [None, RankLostError])
def test_what_a_resume_may_get_past_does(kind: type[MaxentRayError] | None, tmp_path: Path) -> None:
    error = run_error(Cause(kind, "it was killed"), "rank 1", tmp_path)
    assert type(error) is (kind or MaxentRayError)
    advice = f"it was killed (rank 1). Once its cause is gone, --resume {tmp_path}"
    assert str(error) == f"{advice} starts again from the beginning"
    (tmp_path / "tune" / "analytic-0" / "checkpoint_000000").mkdir(parents=True)
    later = run_error(Cause(kind, "it was killed"), "rank 1", tmp_path)
    assert str(later) == f"{advice} continues from the last checkpoint"


def test_errors_of_the_driver_get_the_same(tmp_path: Path) -> None:
    (tmp_path / "train" / "checkpoint_00000002").mkdir(parents=True)
    advised = r"^full\. Once its cause is gone, --resume .* continues from the last checkpoint$"
    with pytest.raises(RecordingError, match=advised), advise_on_resume(tmp_path):
        raise RecordingError("full")
    with pytest.raises(ConfigError, match=r"^wrong$"), advise_on_resume(tmp_path):
        raise ConfigError("wrong")
