"""Two drivers on one folder: the other is a real process, which is then killed (SIGKILL)."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from maxent_ray.cli import commands
from maxent_ray.cli.app import app
from maxent_ray.cli.cluster_options import ClusterOptions
from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import dump_config, load_config
from maxent_ray.errors import RecordingError, ResumeError
from maxent_ray.storage import driver_lock as module
from maxent_ray.storage.driver_lock import LOCK, driver_lock
from maxent_ray.train.ray_train.loop import run_training
from maxent_ray.tune.comparison import run_comparison
from maxent_ray.tune.sweep import run_sweep
from tests.conftest import ROOT

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from maxent_ray.storage.driver_lock import driver_lock

with driver_lock(Path(sys.argv[1])):
    worker = subprocess.Popen(["sleep", "600"], close_fds=False, stdout=subprocess.DEVNULL)
    print(worker.pid, flush=True)
    time.sleep(600)
"""


@contextmanager
def another_driver(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has the lock, and the id of a worker that it started, which may use every file it was left."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-c", HOLDER, str(folder)]
    driver = subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    try:
        yield driver, worker
    finally:
        driver.kill()
        driver.wait()
        driver.stdout.close()
        os.kill(worker, signal.SIGKILL)


def test_a_second_driver_is_told_who_has_the_folder_until_that_one_is_killed(tmp_path: Path) -> None:
    """The lock goes with the driver, while its worker lives on."""
    with another_driver(tmp_path) as (driver, worker):
        holder = rf"\(process {driver.pid} on {socket.gethostname()}\)"
        with pytest.raises(ResumeError, match=rf"{tmp_path} is in use by another driver {holder}: wait until it has"):
            driver_lock(tmp_path).__enter__()
        driver.kill()
        driver.wait()
        os.kill(worker, 0)  # it is there
        with driver_lock(tmp_path):
            assert (tmp_path / LOCK).read_text() == f"{os.getpid()} {socket.gethostname()}\n"


def test_a_lock_is_let_go_of_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the run broke"), driver_lock(tmp_path):
        raise RuntimeError("the run broke")
    with driver_lock(tmp_path):
        pass


@pytest.mark.parametrize("said", ["", "7", "7 host", "7 \x1b[31mhost\n", "7 host\n" * 100])
def test_what_does_not_name_a_holder_is_not_repeated(said: str, tmp_path: Path) -> None:
    """As for the moment in which another driver has the lock and has not yet written who it is."""
    with driver_lock(tmp_path):
        (tmp_path / LOCK).write_text(said)
        with pytest.raises(ResumeError, match=r"is in use by another driver: wait"):
            driver_lock(tmp_path).__enter__()


def test_storage_that_cannot_lock_is_used_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(module, "lock_descriptor", no_locks)
    with caplog.at_level(logging.WARNING), driver_lock(tmp_path), driver_lock(tmp_path):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / LOCK} cannot be locked (No locks available): this folder is not protected from a second "
        "driver, so make sure that there is none"
    ]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=rf"the folder {tmp_path}/gone is missing"):
        driver_lock(tmp_path / "gone").__enter__()


# --- what runs ---


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[Path]:
    """A run's folder, in which another driver is at work."""
    folder = tmp_path / "mine"
    folder.mkdir()
    dump_config(load_config(), folder / "config.yaml")
    (folder / "rows.jsonl").write_text('{"step": 0}\n{"st')  # of the other one, which writes just now
    (folder / "config.yaml.7.partial").touch()
    with another_driver(folder):
        yield folder


RUNS: dict[str, Callable[..., Any]] = {"train": run_training, "compare": run_comparison, "sweep": run_sweep}


@pytest.mark.ray
def test_no_run_touches_a_folder_that_is_in_use(ray_cluster: None, taken: Path) -> None:
    before = {path: path.read_bytes() for path in taken.rglob("*")}
    for run in RUNS.values():
        with pytest.raises(ResumeError, match="is in use by another driver"):
            run(ExperimentConfig(), name=taken.name, results=taken.parent, resume=True)
    assert {path: path.read_bytes() for path in taken.rglob("*")} == before


@pytest.mark.parametrize("command", RUNS)
def test_a_command_is_refused_before_a_cluster_is_started(
    command: str, taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(options: ClusterOptions) -> None:
        raise AssertionError("a cluster was started")

    monkeypatch.setattr(commands, "ray_cluster", started)
    result = CliRunner().invoke(app, [command, "--resume", str(taken)])
    assert result.exit_code == 2
    assert result.output.startswith(f"error: {taken} is in use by another driver (process ")
