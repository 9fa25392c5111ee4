"""Every way to write the folder of a run to resume leads to the same folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from maxent_ray.cli.run_location import RunLocation


@pytest.mark.parametrize(
    ("at", "written"),
    [
        (".", "results/first"),
        (".", "results/first/"),
        (".", "results/../results/first/tune/.."),
        (".", "link"),
        (".", "results/link"),
        ("results", "first"),
        ("results/first", "."),
        ("results/first/tune", ".."),
        ("link", "."),
    ],
)
def test_a_folder_to_resume_may_be_written_in_any_way(
    at: str, written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results" / "first"
    (folder / "tune").mkdir(parents=True)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "results" / "link").symlink_to("first")
    monkeypatch.chdir(tmp_path / at)
    for path in (Path(written), Path.cwd() / written):
        location = RunLocation.of("ignored", Path("ignored"), path)
        monkeypatch.chdir(tmp_path)  # the way it was written counts where it was written
        assert (location.folder, location.resume) == (folder, True)
        assert location.results / location.name == folder
        monkeypatch.chdir(tmp_path / at)


def test_a_new_run_is_where_it_was_asked_for() -> None:
    location = RunLocation.of("mine", Path("results"), None)
    assert (location.folder, location.resume) == (Path("results/mine"), False)
