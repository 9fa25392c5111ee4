"""Exit statuses: documented, and what the commands end with."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from maxent_ray import errors
from maxent_ray.cli import commands
from maxent_ray.cli.app import app
from maxent_ray.cli.cluster import Cluster
from maxent_ray.cli.exit_status import ExitStatus
from maxent_ray.cli.termination import Terminated, interrupt_on_sigterm
from maxent_ray.errors import MaxentRayError, PolicyLoadError, RecordingError
from maxent_ray.tune.execution import RunResult
from tests.report.results_folder import write_results
from tests.train.ray_train.faults import wait_until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "exit-status.md").read_text()
BAD_INPUT = {
    "ConfigError",
    "UnknownObjectiveError",
    "PolicyLoadError",
    "TaskError",
    "ResourceError",
    "ResumeError",
    "HypergradientError",
}


def test_the_page_has_every_status_and_no_other() -> None:
    documented = {int(number): name for number, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, re.MULTILINE)}
    assert documented == {status.value: status.name for status in ExitStatus}


def test_every_error_of_ours_is_bad_input_or_a_failed_run() -> None:
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, MaxentRayError)]
    statuses = {each.__name__: ExitStatus.of(each("said")) for each in classes}
    assert {name for name, status in statuses.items() if status is ExitStatus.BAD_INPUT} == BAD_INPUT
    assert set(statuses.values()) == {ExitStatus.BAD_INPUT, ExitStatus.RUN_FAILED}


def test_what_a_resume_may_get_past_is_no_bad_input() -> None:
    classes = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, MaxentRayError)]
    assert not [each for each in classes if each.resumable and ExitStatus.of(each("said")) is ExitStatus.BAD_INPUT]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A command line whose cluster is there already."""

    @contextmanager
    def cluster(options: Any, results: Path) -> Iterator[Cluster]:
        yield Cluster(False, 2, 0, None, None)

    monkeypatch.setattr(commands, "ray_cluster", cluster)
    return CliRunner(env={"RAY_ADDRESS": "", "COLUMNS": "100"})


def trials(**failed: str) -> Any:
    """A comparison that leaves records, with some trials that failed."""

    def compare(config: Any, *, name: str, results: Path, **rest: Any) -> RunResult:
        folder = write_results(results / name)
        return RunResult(folder, ("truncated_backprop-0",), failed)

    return compare


def test_trials_that_failed_are_named_last_and_not_a_success(
    command: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "run_comparison", trials(analytic="the toy broke:\n  it is odd"))
    result = command.invoke(app, ["compare", "--results", str(tmp_path), "--name", "new"])
    assert result.exit_code == ExitStatus.TRIALS_FAILED
    told = result.output.partition("Written to ")[2]
    assert "analytic failed: the toy broke:\n  it is odd\n1 of 2 trials failed; the others are complete." in told


def test_without_a_failed_trial_it_is(command: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands, "run_comparison", trials())
    result = command.invoke(app, ["compare", "--results", str(tmp_path), "--name", "new"])
    assert result.exit_code == ExitStatus.SUCCESS, result.output
    assert "trials failed" not in result.output and "could not be drawn" not in result.output


def test_plots_that_cannot_be_drawn_are_said_once_and_all_else_is_there(
    command: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_room(*arguments: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr("maxent_ray.report.plots.style.save", no_room)
    monkeypatch.setattr(commands, "run_comparison", trials())
    result = command.invoke(app, ["compare", "--results", str(tmp_path), "--name", "new"])
    assert result.exit_code == ExitStatus.SUCCESS, result.output
    assert (tmp_path / "new" / "summary.json").is_file()
    assert "Held-out comparison" in result.output
    assert "6 plot(s) could not be drawn: OSError: no room" in result.output


def test_a_summary_that_cannot_be_written_is_a_failure_after_the_tables(
    command: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*arguments: Any) -> None:
        raise RecordingError("cannot write summary.json: No space left on device")

    monkeypatch.setattr(commands, "write_summary", full)
    monkeypatch.setattr(commands, "run_comparison", trials())
    result = command.invoke(app, ["compare", "--results", str(tmp_path), "--name", "new"])
    assert result.exit_code == ExitStatus.RUN_FAILED
    assert "Held-out comparison" in result.output and "No space left" in result.output


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PolicyLoadError("no model (rank 0)"), 2),
        (MaxentRayError("the gradient is nan (rank 0)"), 4),
        (KeyboardInterrupt("interrupted"), 130),
        (Terminated("interrupted"), 143),
    ],
)
def test_the_status_of_what_ends_a_run(
    error: BaseException, status: int, command: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(commands, "run_comparison", fails)
    result = command.invoke(app, ["compare", "--results", str(tmp_path), "--name", "new"])
    assert result.exit_code == status
    assert str(error) in result.output and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("script", "arguments", "status"),
    [
        ("train.py", ["train.step=3"], 2),
        ("pbt_objectives.py", ["--mode", "wild"], 2),
        ("sweep_targets.py", ["--resume", "nowhere"], 2),
        ("evaluate.py", ["--help"], 0),
    ],
)
def test_scripts_end_with_the_status_of_their_command(script: str, arguments: list[str], status: int) -> None:
    command = [sys.executable, str(ROOT / "experiments" / script), *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, capture_output=True, env=environment, check=False).returncode == status


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["usual", "ignored"])
def on_sigint(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Handler of Ctrl-C; a shell starts background jobs with it ignored."""
    before = signal.signal(signal.SIGINT, request.param)
    yield request.param
    signal.signal(signal.SIGINT, before)


def test_sigterm_is_like_ctrl_c_and_its_handler_goes_with_the_block(on_sigint: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), interrupt_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert signal.getsignal(signal.SIGTERM) == before
    if on_sigint == signal.SIG_IGN:
        return
    with pytest.raises(KeyboardInterrupt) as raised, interrupt_on_sigterm():
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    assert type(raised.value) is KeyboardInterrupt
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_sigterm_keeps_what_was_done_and_says_how_to_continue(tmp_path: Path) -> None:
    smoke = ROOT / "experiments" / "configs" / "smoke.yaml"
    arguments = ["train", "-c", str(smoke), "--no-gpu", "--results", str(tmp_path), "--name", "new", "--steps", "9999"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "maxent_ray.cli", *arguments]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment) as run:
        rows = tmp_path / "new" / "rows.jsonl"
        wait_until(lambda: run.poll() is not None or (rows.is_file() and rows.stat().st_size > 0), "a row")
        run.terminate()
        _, said = run.communicate()
    assert run.returncode == ExitStatus.TERMINATED, said
    assert said.endswith(f"interrupted. Continue with --resume {tmp_path / 'new'}\n")
