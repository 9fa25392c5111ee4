"""The mirror of a run's folder at a URI: always a state to resume, nothing lost, one driver."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from maxent_ray.errors import RecordingError, ResumeError
from maxent_ray.storage import mirror as mirror_module
from maxent_ray.storage import snapshot
from maxent_ray.storage.driver_lock import LOCK
from maxent_ray.storage.mirror import Mirror, MirrorState
from maxent_ray.storage.remote_folder import RemoteFolder
from maxent_ray.storage.remote_lock import RemoteLock
from maxent_ray.storage.snapshot import take_snapshot
from tests.s3_server import S3Server

LIST = "train/checkpoint_manager_snapshot.json"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with a row, a checkpoint, and what is not to be uploaded."""
    folder = tmp_path / "mine"
    write(folder, **{"config.yaml": "{}", "rows.jsonl": "1\n", "train/checkpoint_1/state": "one", LIST: "1"})
    write(folder, **{LOCK: "1 here", "x.partial": "", "policy.part/half": "", "train/.validate_storage_marker": ""})
    return folder


UPLOADED = {"config.yaml", "rows.jsonl", "train/checkpoint_1/state", LIST, LOCK}


def test_what_changes_is_uploaded_and_what_is_gone_is_deleted(s3: S3Server, folder: Path) -> None:
    remote = RemoteFolder.open(s3.uri("mine"))
    with RemoteLock(remote) as lock, Mirror(folder, remote, lock) as mirror:
        mirror.sync()
        assert s3.names("mine") == UPLOADED
        times = {name: file.modified for name, file in remote.files().items()}
        (folder / "train/checkpoint_1/state").unlink()
        write(folder, **{"train/checkpoint_2/state": "two", LIST: "2", "rows.jsonl": "1\n2\n"})
    assert s3.names("mine") == UPLOADED - {"train/checkpoint_1/state"} | {"train/checkpoint_2/state"}
    assert s3.read("mine/rows.jsonl") == b"1\n2\n" and s3.read(f"mine/{LIST}") == b"2"
    assert remote.files()["config.yaml"].modified == times["config.yaml"]
    assert MirrorState(folder).whole and not list(folder.parent.glob(".*.upload"))


def test_a_list_is_uploaded_after_what_it_names_and_before_that_is_deleted(
    s3: S3Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, done = RemoteFolder.open(s3.uri("mine")), []
    for action in ("upload", "delete"):
        before: Any = getattr(RemoteFolder, action)

        def noted(self: Any, *names: Any, before: Any = before, action: str = action) -> None:
            done.append((action, str(names[-1])))
            before(self, *names)

        monkeypatch.setattr(RemoteFolder, action, noted)
    with RemoteLock(remote) as lock, Mirror(folder, remote, lock) as mirror:
        mirror.sync()
        done.clear()
        (folder / "train/checkpoint_1/state").unlink()
        write(folder, **{"train/checkpoint_2/state": "two", LIST: "2"})
        mirror.sync()
        expected = [("upload", "train/checkpoint_2/state"), ("upload", LIST), ("delete", "train/checkpoint_1/state")]
        assert done == expected


def test_a_snapshot_has_what_its_lists_name_whatever_is_removed_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, moved = snapshot._take, []

    def take_late(*arguments: Any) -> bool:
        if not moved and arguments[2].startswith("train/checkpoint_1/"):
            moved.append(True)
            (folder / "train/checkpoint_1/state").unlink()
            write(folder, **{"train/checkpoint_2/state": "two", LIST: "22"})
        return take(*arguments)

    monkeypatch.setattr(snapshot, "_take", take_late)
    target = folder.with_name("snapshot")
    assert set(take_snapshot(folder, target)) == {"config.yaml", "rows.jsonl", "train/checkpoint_2/state", LIST}
    assert (target / LIST).read_text() == "22"
    (folder / "train/checkpoint_2/state").unlink()
    assert (target / "train/checkpoint_2/state").read_text() == "two"


def test_a_failed_upload_is_repeated_and_said_once(
    s3: S3Server, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remote, upload, failed = RemoteFolder.open(s3.uri("mine")), RemoteFolder.upload, threading.Event()

    def fails_twice(self: RemoteFolder, source: Path, name: str) -> None:
        if name == "rows.jsonl" and mirror.failures < 2:
            raise RecordingError("the service is away")
        upload(self, source, name)
        failed.set()

    monkeypatch.setattr(RemoteFolder, "upload", fails_twice)
    with RemoteLock(remote) as lock:
        mirror = Mirror(folder, remote, lock, every_s=0.01)
        with mirror:
            while mirror.failures < 2:
                failed.wait(0.01)
    assert s3.names("mine") == UPLOADED and mirror.failures == 2
    assert caplog.text.count("the service is away; the upload is tried again") == 1


def test_a_last_upload_that_fails_says_where_all_is_and_another_driver_uploads_it(
    s3: S3Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = RemoteFolder.open(s3.uri("mine"))

    def away(self: RemoteFolder, source: Path, name: str) -> None:
        raise RecordingError("the service is away")

    monkeypatch.setattr(mirror_module, "PAUSE_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "upload", away)
        failed = pytest.raises(RecordingError, match="They are whole in")
        with failed as raised, RemoteLock(remote) as lock, Mirror(folder, remote, lock):
            pass
    assert "the service is away" in str(raised.value)
    assert f"maxent-ray results upload {folder} '{remote.uri}'" in str(raised.value)
    assert not MirrorState(folder).whole
    with RemoteLock(remote) as lock, Mirror(folder, remote, lock):
        pass
    assert s3.names("mine") == UPLOADED


def test_an_error_of_the_run_is_not_hidden_by_one_of_the_upload(
    s3: S3Server, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remote = RemoteFolder.open(s3.uri("mine"))
    monkeypatch.setattr(mirror_module, "PAUSE_S", 0.0)
    with pytest.raises(KeyboardInterrupt), RemoteLock(remote) as lock, Mirror(folder, remote, lock):
        s3.server.stop()
        raise KeyboardInterrupt
    assert "They are whole in" in caplog.text


def test_two_drivers(s3: S3Server, folder: Path) -> None:
    remote = RemoteFolder.open(s3.uri("mine"))
    in_use = pytest.raises(ResumeError, match=r"in use by another driver \(process \d+ on ")
    with RemoteLock(remote, heartbeat_s=0.05), in_use, RemoteLock(remote, 0.2):
        pass
    with RemoteLock(remote) as lock:  # the first has ended
        assert lock.before is not None


def test_a_dead_driver_is_noticed_and_one_that_comes_back_stops(s3: S3Server, folder: Path) -> None:
    remote = RemoteFolder.open(s3.uri("mine"))
    silent, taken = RemoteLock(remote, 3600.0), pytest.raises(RecordingError, match="taken by another driver")
    with taken, silent as first, Mirror(folder, remote, first), RemoteLock(remote, 0.01) as second:
        assert second.before == first.driver
        with pytest.raises(ResumeError, match="taken by another driver"):
            first.check()
    assert json.loads(s3.read(f"mine/{LOCK}"))["driver"] == second.driver


@pytest.mark.parametrize(
    "content",
    [
        b"[1]",
        b"",
        b"half {",
        b'{"driver": "a"}',
        b'{"driver": "a", "beats": 1, "process": 1, "host": "\\u001b[31mred"}',
        b'{"driver": "a", "beats": "x", "process": 1, "host": "here"}',
    ],
)
def test_a_lock_file_that_is_none_is_replaced(content: bytes, s3: S3Server) -> None:
    remote = RemoteFolder.open(s3.uri("mine"))
    remote.write(LOCK, content)
    with RemoteLock(remote) as lock:
        assert lock.before is None
