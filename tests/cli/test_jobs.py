"""`ray job submit` against a cluster of its own: logs, the job's status, stop and resume."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from maxent_ray.storage.run_files import read_rows
from tests.ray_head import RAY, ROOT, RayHead, cluster_environment, ray_head
from tests.train.ray_train.faults import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
SMOKE = ["--config", "experiments/configs/smoke.yaml", "--no-gpu"]
BROKEN = """
from maxent_ray import ControllerObjective


class Broken(ControllerObjective):
    name = "broken"

    def compute(self, meta_ctx):
        raise RuntimeError("the objective broke")
"""


@dataclass(frozen=True)
class Jobs:
    """A cluster, and a working directory with this package in it, as a user ships it."""

    head: RayHead
    directory: Path
    environment: dict[str, str]

    def submit(self, name: str, script: str, *arguments: str, wait: bool = True) -> str:
        """Submit a script; returns what it printed."""
        options = ["--address", self.head.dashboard, "--submission-id", name, "--working-dir", str(self.directory)]
        command = [RAY, "job", "submit", *options, *([] if wait else ["--no-wait"]), "--", "python", script, *arguments]
        return self._run(command)

    def stop(self, name: str) -> None:
        self._run([RAY, "job", "stop", "--address", self.head.dashboard, name])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def info(self, name: str) -> dict[str, Any]:
        """Status of a job, as the dashboard has it."""
        return self._get(name)

    def log(self, name: str) -> str:
        """Output of the job's driver, as the dashboard shows it."""
        text: str = self._get(f"{name}/logs")["logs"]
        return text

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.head.dashboard}/api/jobs/{path}") as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    base = tmp_path_factory.mktemp("jobs")
    directory = base / "work"
    for name in ("maxent_ray", "experiments"):
        ignore = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, directory / name, ignore=ignore)
    (directory / "broken.py").write_text(BROKEN)
    environment = cluster_environment(PYTHONPATH="", HOME=str(base))
    with ray_head(environment) as head:
        yield Jobs(head, directory, environment)


def progress_of(log: str) -> list[str]:
    """Lines of progress of a log, which is for a file: no bars, no control codes."""
    assert not re.search(r"[\r\x1b█━]|\[#", log), log
    return [line for line in log.splitlines() if " policy steps, " in line]


def test_a_run_that_succeeds(jobs: Jobs, tmp_path: Path) -> None:
    said = jobs.submit("good", "experiments/train.py", *SMOKE, "--results", str(tmp_path), "--name", "mine")
    info = jobs.info("good")
    assert (info["status"], info["driver_exit_code"]) == ("SUCCEEDED", 0), said
    assert "6 of 6 policy steps" in progress_of(jobs.log("good"))[-1]
    assert f"Results: {tmp_path / 'mine'} " in said and "Held-out comparison" in said
    assert (tmp_path / "mine" / "summary.json").is_file()


def test_some_trials_that_fail(jobs: Jobs, tmp_path: Path) -> None:
    objectives = "tune.objectives=[analytic,broken:Broken]"
    arguments = [*SMOKE, "--no-references", "--results", str(tmp_path), "--name", "some", "train.max_failures=0"]
    said = jobs.submit("some", "experiments/pbt_objectives.py", *arguments, objectives)
    info = jobs.info("some")
    assert (info["status"], info["driver_exit_code"]) == ("FAILED", 3), said
    assert "exit code 3" in info["message"] and "of 4 trials failed; the others are complete" in info["message"]
    assert "24 policy steps" in progress_of(jobs.log("some"))[-1] and "Traceback" not in jobs.log("some")
    assert "the objective broke" in said and (tmp_path / "some" / "summary.json").is_file()


def test_a_run_that_fails(jobs: Jobs, tmp_path: Path) -> None:
    arguments = [*SMOKE, "--results", str(tmp_path), "--name", "bad", "train.max_failures=0"]
    said = jobs.submit("bad", "experiments/train.py", *arguments, "controller.objective.type=broken:Broken")
    info = jobs.info("bad")
    assert (info["status"], info["driver_exit_code"]) == ("FAILED", 4), said
    assert "exit code 4" in info["message"] and "the objective broke" in info["message"]


def test_a_job_that_is_stopped_and_resumed(jobs: Jobs, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    arguments = [*SMOKE, "--results", str(tmp_path), "--name", "long", "--steps", "9999"]
    jobs.submit("long", "experiments/train.py", *arguments, wait=False)
    wait_until(lambda: len(list(folder.glob("train/checkpoint_*"))) > 1 or is_over(jobs, "long"), "a checkpoint")
    jobs.stop("long")
    wait_until(lambda: is_over(jobs, "long"), "the end of the job")
    assert jobs.info("long")["status"] == "STOPPED", jobs.info("long")
    done = 1 + max(row["step"] for row in read_rows(folder / "rows.jsonl"))
    said = jobs.submit("again", "experiments/train.py", "--resume", str(folder), "--steps", str(done + 2))
    assert jobs.info("again")["status"] == "SUCCEEDED", said
    rows = read_rows(folder / "rows.jsonl")
    assert [row["step"] for row in rows] == list(range(done + 2))


def is_over(jobs: Jobs, name: str) -> bool:
    return jobs.info(name)["status"] in ("SUCCEEDED", "FAILED", "STOPPED")
