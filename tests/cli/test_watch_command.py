from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from maxent_ray.cli.app import app
from tests.conftest import ROOT
from tests.report.sweep_folder import finish, write_sweep


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["watch", *arguments], env={"COLUMNS": "110"})


def test_without_a_terminal_one_plain_picture_is_printed(tmp_path: Path) -> None:
    folder = finish(write_sweep(tmp_path / "a"))
    done = run(str(folder))
    assert done.exit_code == 0 and done.output == run(str(folder), "--once").output
    assert "finished" in done.output and "analytic-8" in done.output and "\x1b" not in done.output


def test_bad_input_is_one_sentence_with_status_2(tmp_path: Path) -> None:
    done = run(str(tmp_path))
    assert done.exit_code == 2 and done.output.startswith("error: ") and "holds no run" in done.output


def test_it_loads_neither_torch_nor_ray(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "a")
    code = (
        "import sys; from pathlib import Path; from maxent_ray.cli.watch_command import watch; "
        f"watch(Path({str(folder)!r}), once=True); "
        "print({'torch', 'ray', 'transformers', 'matplotlib', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.rstrip().endswith("set()")


@pytest.mark.parametrize("key", [b"q", b"\x03"], ids=["q", "Ctrl-C"])
def test_a_key_ends_the_live_picture_and_leaves_the_last_one(key: bytes, tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "a")
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TERM="xterm", COLUMNS="110", LINES="40", PYTHONPATH=str(ROOT))
        os.execv(sys.executable, [sys.executable, "-m", "maxent_ray.cli", "watch", str(folder)])
    output = b""
    while b"H*" not in output:  # drawn once
        output += os.read(terminal, 65536)
    os.write(terminal, key)
    try:
        while more := os.read(terminal, 65536):
            output += more
    except OSError:  # the other end is closed
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert b"analytic-8" in output.rpartition(b"\x1b[?1049l")[2], "on the first screen, after the second"
