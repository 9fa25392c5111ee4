"""The command ``dashboard``: addresses, tokens, ports, and a quiet end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from maxent_ray.cli.dashboard_command import show_in_browser, token_source
from maxent_ray.dashboard.stand_in import variables
from maxent_ray.errors import ConfigError
from tests.report.results_folder import write_results

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "maxent_ray.cli", "dashboard", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True, cwd=ROOT, env=environment)


def end(command: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code and what is left to read; ``communicate`` would lose what ``readline`` has read ahead."""
    command.send_signal(signal.SIGINT)
    assert command.stdout is not None and command.stderr is not None
    rest, error = command.stdout.read(), command.stderr.read()
    return command.wait(timeout=60), rest, error


def test_it_prints_its_address_serves_and_ends_quietly(tmp_path: Path) -> None:
    write_results(tmp_path / "demo")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = start(str(tmp_path), "--port", str(port), "--for-ray", "--open")
        assert command.stdout is not None
        assert command.stdout.readline() == f"Port {port} is taken; this is the next free one.\n"
        url = command.stdout.readline().removeprefix("Results page: ").partition(" ")[0]
        hint, *exports = [command.stdout.readline() for _ in range(1 + len(variables(url, url)))]
        with urllib.request.urlopen(f"{url}/api/runs", timeout=60) as answer:
            assert [run["id"] for run in json.load(answer)["runs"]] == ["demo"]
        assert end(command) == (0, "No browser can be opened here: open that address yourself.\n", "")
    assert "ray start --head" in hint
    assert f"export RAY_GRAFANA_HOST={url}\n" in exports and f"export RAY_PROMETHEUS_HOST={url}\n" in exports


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "which does not exist"),
        ([str(Path(__file__))], "a file; give a folder"),
        ([".", "--host", "203.0.113.9", "--token-file", __file__], "--host is '203.0.113.9'"),
        ([".", "--token-file", "nowhere"], "--token-file is 'nowhere', which cannot be read"),
        ([".", "--token-file", "/dev/null"], "its first line is empty"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(arguments: list[str], said: str) -> None:
    command = start(*arguments)
    _, error = command.communicate(timeout=60)
    assert command.returncode == 2
    assert said in error and len(error.strip().splitlines()) == 1


def test_on_other_hosts_a_token_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="there is no token"):
        token_source("0.0.0.0", None)
    assert token_source("127.0.0.1", None) is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("rays\n")
    source = token_source("0.0.0.0", None)
    assert source is not None and source() == "rays"
    (tmp_path / "own").write_text("mine\nnot this\n")
    source = token_source("127.0.0.1", tmp_path / "own")
    assert source is not None and source() == "mine"


def test_without_a_display_no_browser_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not show_in_browser("http://127.0.0.1:1")
