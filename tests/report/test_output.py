"""The output of a command may lack letters, have no reader, or be full or closed: the command goes on."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from maxent_ray.report.output import Output, make_console

ROOT = Path(__file__).parents[2]
PRINT = """
import sys
from maxent_ray.report.output import make_console
for number in range(2000):
    make_console().print("τ at the end,", number)
make_console(stderr=True).print("error: β")
sys.exit(4)
"""


def run(redirection: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The exit status of a command with its streams redirected by a shell."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    script = f'set -o pipefail; "$0" -c "$1" {redirection}'
    return subprocess.run(
        ["bash", "-c", script, sys.executable, PRINT], capture_output=True, text=True, env=own, errors="replace"
    )


@pytest.mark.parametrize(
    "redirection", ["| head -1", "| true", ">/dev/full", ">&-", "2>&-", "2>/dev/full", ">&- 2>&-", ">/dev/full 2>&1"]
)
def test_a_stream_that_cannot_be_written_changes_no_exit_status(redirection: str) -> None:
    done = run(redirection)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_that_an_encoding_lacks_are_spelled(encoding: str) -> None:
    done = run("", PYTHONIOENCODING=encoding)
    first = done.stdout.splitlines()[0]
    assert done.returncode == 4
    assert first == ("τ at the end, 0" if encoding == "utf-8" else "tau at the end, 0")
    assert done.stderr.startswith("error: β" if encoding == "utf-8" else "error: beta")


def test_other_letters_have_their_code() -> None:
    lacking = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Output(lacking).write("ü − 日")
    lacking.seek(0)
    assert lacking.read() == "\\xfc - \\u65e5"


def test_the_help_is_printed_in_ascii_too() -> None:
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", "from maxent_ray.cli import main; main('train', '--help')"]
    done = subprocess.run(command, capture_output=True, text=True, env=own)
    assert done.returncode == 0, done.stderr
    assert "tau" in done.stdout and "beta" in done.stdout


def test_a_closed_stream_is_no_console_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    make_console().print("nobody reads this")
