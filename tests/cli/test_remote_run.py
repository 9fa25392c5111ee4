"""Runs whose results are at a URI: where they work, what is at the URI when, and from where they go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from maxent_ray.cli import commands, remote_run
from maxent_ray.cli.app import app
from maxent_ray.cli.cluster import Cluster
from maxent_ray.cli.exit_status import ExitStatus
from maxent_ray.cli.remote_run import WORK_FOLDER, run_location, work_folder
from maxent_ray.config.loading import dump_config
from maxent_ray.errors import ConfigError, RecordingError
from maxent_ray.storage import mirror, remote_lock
from maxent_ray.storage.driver_lock import LOCK
from maxent_ray.storage.remote_folder import RemoteFolder
from maxent_ray.tune.execution import RunResult
from tests.report.results_folder import write_results
from tests.s3_server import BUCKET, S3Server


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder that runs with a URI work in; nothing waits there."""
    monkeypatch.setenv(WORK_FOLDER, str(tmp_path / "work"))
    monkeypatch.setattr(mirror, "PAUSE_S", 0.0)
    monkeypatch.setattr(remote_lock, "WATCH_S", 0.0)
    return tmp_path / "work"


class Command:
    """The command line, with a cluster that is there and a comparison that writes results, then ends as told."""

    def __init__(self) -> None:
        self.ends: BaseException | None = None
        self.seen: list[set[str]] = []
        """Files that each run found."""

    def run(self, config: Any, *, name: str, results: Path, resume: bool, **rest: Any) -> RunResult:
        folder = results / name
        self.seen.append({path.name for path in folder.iterdir()} if folder.exists() else set())
        if not folder.exists():
            write_results(folder)
            dump_config(config, folder / "config.yaml")
        with (folder / "rows.jsonl").open("a") as rows:
            rows.write("\n")  # something new
        if self.ends is not None:
            raise self.ends
        return RunResult(folder, ("truncated_backprop-0",), {})

    def __call__(self, *words: str) -> Result:
        result = CliRunner(env={"RAY_ADDRESS": "", "COLUMNS": "200"}).invoke(app, list(words))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, work: Path) -> Command:
    @contextmanager
    def cluster(options: Any, results: Path) -> Iterator[Cluster]:
        yield Cluster(False, 2, 0, None, None)

    made = Command()
    monkeypatch.setattr(commands, "ray_cluster", cluster)
    monkeypatch.setattr(commands, "run_comparison", made.run)
    monkeypatch.setattr(commands, "draw_plots", lambda *arguments, **options: [])  # slow, and tested elsewhere
    return made


def test_results_are_at_the_uri_and_on_another_machine_it_goes_on(
    s3: S3Server, command: Command, work: Path
) -> None:
    result = command("compare", "--results", s3.uri("results"), "--name", "mine")
    assert result.exit_code == 0, result.output
    uri = s3.uri("results/mine")
    assert f"Results: {uri} " in result.output and f"--resume '{uri}' continues" in result.output
    assert f"Uploaded to {uri}." in result.output
    assert {"config.yaml", "rows.jsonl", "summary.json"} <= s3.names("results/mine")
    shutil.rmtree(work)  # another machine
    assert command("compare", "--resume", uri).exit_code == 0
    assert "summary.json" in command.seen[1]
    assert s3.read("results/mine/rows.jsonl").endswith(b"\n\n\n")
    again = command("compare", "--results", s3.uri("results"), "--name", "mine")
    assert again.exit_code == ExitStatus.BAD_INPUT and f"exists: resume its run (--resume '{uri}')" in again.output


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        (KeyboardInterrupt("interrupted. Continue with --resume {}"), 130),
        (RecordingError("no room. Continue with --resume {}"), 4),
    ],
)
def test_what_is_done_is_uploaded_however_the_run_ends(
    ends: BaseException, status: int, s3: S3Server, command: Command
) -> None:
    folder = work_folder(s3.uri("results/mine"))
    command.ends = type(ends)(str(ends).format(folder))
    result = command("compare", "--results", s3.uri("results"), "--name", "mine")
    assert result.exit_code == status
    assert f"Continue with --resume '{s3.uri('results/mine')}'" in result.output
    assert {"config.yaml", "rows.jsonl", LOCK} <= s3.names("results/mine")


def test_a_failed_upload_loses_nothing(s3: S3Server, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: RemoteFolder, source: Path, name: str) -> None:
        raise RecordingError("the service is away")

    uri = s3.uri("results/mine")
    command.ends = KeyboardInterrupt("interrupted")
    command("compare", "--results", s3.uri("results"), "--name", "mine")
    command.ends = None
    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "upload", away)
        failed = command("compare", "--resume", uri)
    assert failed.exit_code == ExitStatus.RUN_FAILED and "They are whole in" in failed.output
    rows = (work_folder(uri) / "rows.jsonl").read_text()
    result = command("compare", "--resume", uri)
    assert "it has more than could be uploaded" in result.output
    assert s3.read("results/mine/rows.jsonl").decode() == rows + "\n"


def test_a_local_copy_that_another_machine_has_overtaken_is_kept_apart(
    s3: S3Server, command: Command, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = s3.uri("results/mine")
    command("compare", "--results", s3.uri("results"), "--name", "mine")
    with (work_folder(uri) / "rows.jsonl").open("a") as rows:
        rows.write("\n")  # not uploaded
    monkeypatch.setenv(WORK_FOLDER, str(work.with_name("elsewhere")))
    command("compare", "--resume", uri)
    monkeypatch.setenv(WORK_FOLDER, str(work))
    result = command("compare", "--resume", uri)
    assert "An older local copy is kept in" in result.output and work_folder(uri).with_name("mine.kept-1").is_dir()


def test_bad_settings_and_a_bad_bucket_leave_nothing_behind(s3: S3Server, command: Command, work: Path) -> None:
    result = command("compare", "--results", s3.uri("results"), "--name", "mine", "train.step=3")
    assert result.exit_code == ExitStatus.BAD_INPUT and s3.names("results") == set()
    for uri in (s3.uri("a").replace(BUCKET, "other"), "weird://bucket", "s3:/bucket/a", "s3://bucket/a?typo=1"):
        result = command("compare", "--results", uri)
        assert result.exit_code == ExitStatus.BAD_INPUT and "error: " in result.output, result.output
    result = command("compare", "--resume", s3.uri("results/never"))
    assert result.exit_code == ExitStatus.BAD_INPUT and "holds no run" in result.output
    assert command.seen == []


def test_a_run_of_another_driver_is_not_resumed(s3: S3Server, command: Command, tmp_path: Path) -> None:
    uri = s3.uri("results/mine")
    command("compare", "--results", s3.uri("results"), "--name", "mine")
    with remote_lock.RemoteLock(RemoteFolder.open(uri), heartbeat_s=0.01):
        before = remote_lock.WATCH_S
        remote_lock.WATCH_S = 0.5
        result = command("compare", "--resume", uri)
        remote_lock.WATCH_S = before
    assert result.exit_code == ExitStatus.BAD_INPUT and "in use by another driver (process " in result.output


def test_a_file_uri_is_its_folder(tmp_path: Path) -> None:
    with run_location("mine", f"file://{tmp_path}", None) as location:
        assert (location.folder, location.uri) == (tmp_path / "mine", None)
    with run_location("", "results", f"file://{tmp_path}/mine") as location:
        assert (location.folder, location.resume) == (tmp_path / "mine", True)


def test_several_machines_need_a_folder_that_all_of_them_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORK_FOLDER, raising=False)
    with pytest.raises(ConfigError, match=f"3 machines.*{WORK_FOLDER}"):
        remote_run.check_machines("s3://bucket/mine", 3)
    remote_run.check_machines("s3://bucket/mine", 1)
    remote_run.check_machines(None, 3)
    monkeypatch.setenv(WORK_FOLDER, "/shared")
    remote_run.check_machines("s3://bucket/mine", 3)


class TestResults:
    def test_list_fetch_and_upload(self, s3: S3Server, command: Command, tmp_path: Path) -> None:
        command("compare", "--results", s3.uri("results"), "--name", "mine")
        listed = command("results", "list", s3.uri("results"))
        assert listed.output.split()[:2] == ["mine", "finished"]
        fetched = command("results", "fetch", s3.uri("results/mine"), str(tmp_path / "here"))
        assert fetched.exit_code == 0, fetched.output
        folder = tmp_path / "here" / "mine"
        assert (folder / "rows.jsonl").read_bytes() == s3.read("results/mine/rows.jsonl")
        (folder / "rows.jsonl").unlink()
        again = command("results", "fetch", s3.uri("results/mine"), str(tmp_path / "here"))
        assert "Fetched 1 file(s)" in again.output
        uploaded = command("results", "upload", str(folder), s3.uri("copy/mine"))
        assert uploaded.exit_code == 0, uploaded.output
        assert s3.names("copy/mine") == s3.names("results/mine")
        assert command("results", "list", str(tmp_path / "here")).output.split()[:2] == ["mine", "finished"]

    def test_mistakes_are_a_sentence(self, s3: S3Server, command: Command, tmp_path: Path) -> None:
        command("compare", "--results", s3.uri("results"), "--name", "mine")
        (tmp_path / "mine").mkdir()
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "config.yaml").write_text("{}")
        for words, complaint in (
            (["list", str(tmp_path / "none")], "holds no run"),
            (["list", s3.uri("nothing")], "holds no run"),
            (["fetch", s3.uri("results"), str(tmp_path)], "it has mine"),
            (["fetch", "results/mine"], "a local folder"),
            (["fetch", s3.uri("results/mine"), str(tmp_path)], "was not fetched from"),
            (["upload", str(tmp_path / "mine"), s3.uri("copy")], "it holds no run"),
            (["upload", str(tmp_path / "other"), s3.uri("results/mine")], "holds another run"),
        ):
            result = command("results", *words)
            assert result.exit_code == ExitStatus.BAD_INPUT and complaint in result.output, (words, result.output)

    def test_a_lock_that_was_left_is_json(self, s3: S3Server, command: Command) -> None:
        command("compare", "--results", s3.uri("results"), "--name", "mine")
        assert json.loads(s3.read(f"results/mine/{LOCK}"))["beats"] is None
