"""A run with results at a URI is killed, and goes on on another machine: nothing of it is read but the URI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maxent_ray.cli.remote_run import WORK_FOLDER
from maxent_ray.storage.run_files import ROWS, read_rows
from tests.ray_head import ROOT, cluster_environment
from tests.s3_server import BUCKET, S3Server
from tests.train.ray_train.faults import wait_until

URI = f"s3://{BUCKET}/results"
SMOKE = ["--config", str(ROOT / "experiments" / "configs" / "smoke.yaml"), "--no-gpu"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("command", "more"), [("train", []), ("compare", ["--no-references"])])
def test_it_goes_on_elsewhere_from_what_is_at_the_uri(
    command: str, more: list[str], s3: S3Server, tmp_path: Path
) -> None:
    def start(machine: str, *words: str) -> subprocess.Popen[str]:
        places = {"HOME": str(tmp_path), WORK_FOLDER: str(tmp_path / machine)}
        environment = cluster_environment(**places, **s3.environment)
        program = [sys.executable, "-m", "maxent_ray.cli", command, *words]
        return subprocess.Popen(program, env=environment, stdout=-1, stderr=subprocess.STDOUT, text=True)

    def rows() -> int:
        return len(s3.read(f"results/mine/{ROWS}")) if ROWS in s3.names("results/mine") else 0

    with start("one", *SMOKE, *more, "--steps", "60", "--results", URI, "--name", "mine") as first:
        wait_until(lambda: first.poll() is not None or rows() > 0, "rows at the URI")
        first.kill()
        said, _ = first.communicate()
    assert first.returncode == -9, said
    uploaded = read_rows(s3.copy_to("results/mine", tmp_path / "uploaded") / ROWS)
    with start("two", "--resume", f"{URI}/mine") as second:
        said, _ = second.communicate()
    assert second.returncode == 0, said
    steps: dict[str, list[int]] = {}
    for row in read_rows(s3.copy_to("results/mine", tmp_path / "ended") / ROWS):
        steps.setdefault(row["trial"], []).append(row["step"])
    assert uploaded and steps and all(sorted(own) == list(range(60)) for own in steps.values())
    assert "summary.json" in s3.names("results/mine")
