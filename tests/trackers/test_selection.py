from __future__ import annotations

import sys
from pathlib import Path

import pytest

from maxent_ray.errors import ConfigError, ResumeError
from maxent_ray.trackers import Tracking, choose_trackers
from maxent_ray.trackers.progress_file import TrackerProgress, write_progress


def test_names_are_taken_once_and_spaces_do_not_matter(tmp_path: Path) -> None:
    assert [each.name for each in choose_trackers(tmp_path, " tensorboard, tensorboard")] == ["tensorboard"]


@pytest.mark.parametrize("names", ["tensorbord", "", "tensorboard,", "none,tensorboard", "TensorBoard"])
def test_an_unknown_name_is_refused_with_the_valid_ones(names: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--log-to has '.*'; valid: tensorboard, mlflow, wandb, trackio or none"):
        choose_trackers(tmp_path, names)


@pytest.mark.parametrize(
    ("name", "library"),
    [("tensorboard", "tensorboardX"), ("mlflow", "mlflow"), ("wandb", "wandb"), ("trackio", "trackio")],
)
def test_a_missing_library_is_named_with_what_installs_it(
    name: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"maxent_ray.trackers.{name}_tracker", raising=False)
    with pytest.raises(ConfigError, match=rf"--log-to {name} needs .* pip install 'maxent-ray\[{name}\]'"):
        choose_trackers(tmp_path, name)


def test_a_resumed_run_goes_on_in_the_trackers_that_it_had(tmp_path: Path) -> None:
    assert choose_trackers(tmp_path, None) == []
    write_progress(tmp_path, "tensorboard", TrackerProgress())
    assert [each.name for each in choose_trackers(tmp_path, None)] == ["tensorboard"]
    assert choose_trackers(tmp_path, "none") == []


def test_a_damaged_file_of_progress_is_named_before_anything_starts(tmp_path: Path) -> None:
    write_progress(tmp_path, "tensorboard", TrackerProgress())
    path = tmp_path / "trackers" / "tensorboard.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ResumeError, match=r"tensorboard\.json .*remove the file"):
        Tracking(tmp_path, choose_trackers(tmp_path, None), {})
