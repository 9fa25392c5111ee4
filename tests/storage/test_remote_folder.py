"""Folders of a storage service, on a local S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from maxent_ray.errors import ConfigError, RecordingError
from maxent_ray.storage.fetching import fetch
from maxent_ray.storage.remote_folder import RemoteFolder
from tests.s3_server import BUCKET, S3Server


def test_what_is_written_is_found_read_and_deleted(s3: S3Server, tmp_path: Path) -> None:
    folder = RemoteFolder.open(s3.uri("a/mine"))
    assert folder.files() == {} and folder.folders() == [] and folder.read("x") is None
    folder.write("x", b"1")
    (tmp_path / "big").write_bytes(b"2" * 20_000_000)  # several parts
    folder.upload(tmp_path / "big", "sub/big")
    assert {name: file.size for name, file in folder.files().items()} == {"x": 1, "sub/big": 20_000_000}
    assert folder.folders() == ["sub"] and RemoteFolder.open(s3.uri("a")).folders() == ["mine"]
    folder.download("sub/big", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "big").read_bytes()
    folder.delete("x")
    folder.delete("x")
    assert s3.names("a/mine") == {"sub/big"}


def test_a_bucket_that_does_not_exist(s3: S3Server) -> None:
    with pytest.raises(ConfigError, match="no bucket 'other'"):
        RemoteFolder.open(s3.uri("a").replace(BUCKET, "other"))


def test_an_unknown_scheme_and_setting() -> None:
    with pytest.raises(ConfigError, match="Unrecognized filesystem"):
        RemoteFolder.open("weird://bucket/a")
    with pytest.raises(ConfigError, match="Unexpected query parameter"):
        RemoteFolder.open("s3://bucket/a?regoin=x")


def test_a_server_that_is_gone(s3: S3Server) -> None:
    folder = RemoteFolder.open(s3.uri("a"))
    s3.server.stop()
    with pytest.raises(RecordingError, match="cannot list s3://bucket/a"):
        folder.files()
    with pytest.raises(ConfigError, match="check the name, the credentials"):
        RemoteFolder.open(s3.uri("a"))


def test_a_fetch_is_completed_by_the_next(s3: S3Server, tmp_path: Path) -> None:
    folder = RemoteFolder.open(s3.uri("mine"))
    for name in ("rows.jsonl", "train/checkpoint_1/state", "tune/kept/experiment_state-0.json"):
        folder.write(name, name.encode())
    told: list[tuple[int, int]] = []
    assert fetch(folder, tmp_path, lambda done, total: told.append((done, total))) == 3
    assert told[-1] == (told[-1][1],) * 2
    (tmp_path / "rows.jsonl").write_text("half")
    assert fetch(folder, tmp_path) == 1
    assert (tmp_path / "rows.jsonl").read_text() == "rows.jsonl"
    assert fetch(folder, tmp_path) == 0


@pytest.mark.parametrize("key", ["mine/../../evil", "mine//evil", "mine/link/evil"])
def test_nothing_is_written_outside_the_folder(key: str, s3: S3Server, tmp_path: Path) -> None:
    s3.client.put_object(Bucket=BUCKET, Key=key, Body=b"evil")
    target, outside = tmp_path / "in", tmp_path / "out"
    target.mkdir()
    outside.mkdir()
    (target / "link").symlink_to(outside)
    with pytest.raises(RecordingError, match="outside"):
        fetch(RemoteFolder.open(s3.uri("mine")), target)
    assert not list(tmp_path.rglob("evil"))
