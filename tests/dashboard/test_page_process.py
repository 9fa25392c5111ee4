"""The page beside a command: it is there at once, and ends with the command, however that ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from maxent_ray.cli.results_page import ResultsPage
from maxent_ray.dashboard.addresses import listen
from maxent_ray.dashboard.stand_in import GRAFANA_HOST, PROMETHEUS_HOST
from maxent_ray.errors import ConfigError
from tests.report.results_folder import write_results

HOLD = """
import sys, time
from pathlib import Path
from maxent_ray.dashboard.page_process import PageProcess
page = PageProcess(Path(sys.argv[1]), port=0)
print(page.url, page.pid, flush=True)
time.sleep(600)
"""


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bytes(answer.read())


def has_ended(process: int) -> bool:
    """True once a process is gone or a zombie, within a minute."""
    for _ in range(600):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_the_command_that_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    write_results(tmp_path / "demo")
    command = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert command.stdout is not None
    url, process = command.stdout.readline().split()
    runs = json.loads(fetch(f"{url}/api/runs"))["runs"]
    assert [run["id"] for run in runs] == ["demo"]
    command.send_signal(how)
    command.wait()
    command.stdout.close()
    assert has_ended(int(process))


def test_it_stands_in_for_grafana_while_a_cluster_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GRAFANA_HOST, raising=False)
    monkeypatch.setenv(PROMETHEUS_HOST, "http://mine:9090")
    page = ResultsPage(tmp_path, port=0)
    try:
        with page.in_new_cluster():
            assert os.environ[GRAFANA_HOST] == page.url
            assert os.environ[PROMETHEUS_HOST] == "http://mine:9090"  # a Prometheus of the user's stays
        assert GRAFANA_HOST not in os.environ and page.in_dashboard
    finally:
        page.close()


def test_a_grafana_of_the_users_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GRAFANA_HOST, "http://grafana:3000")
    page = ResultsPage(tmp_path, port=0)
    try:
        with page.in_new_cluster():
            assert os.environ[GRAFANA_HOST] == "http://grafana:3000" and page.url
        assert not page.in_dashboard
    finally:
        page.close()


def test_a_page_that_cannot_start_costs_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ResultsPage(tmp_path, host="203.0.113.9")
    assert page.url is None and "203.0.113.9" in page.problem
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-python"))
    page = ResultsPage(tmp_path, port=0)
    assert page.url is None and page.problem
    monkeypatch.setattr("sys.executable", "/bin/false")
    page = ResultsPage(tmp_path, port=0)
    for _ in range(600):
        if page.url is None:
            break
        time.sleep(0.1)
    assert page.url is None and "process ended" in page.problem
    with page.in_new_cluster():
        assert not page.in_dashboard
    page.close()


def test_without_results_there_is_no_page_and_no_problem() -> None:
    page = ResultsPage(None)
    assert page.url is None and page.problem == ""


def test_a_port_that_is_taken_gives_the_next_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with listen("127.0.0.1", port) as listener:
            assert port < listener.getsockname()[1] <= port + 100
    for host in ("no-such-host.invalid", "203.0.113.9"):
        with pytest.raises(ConfigError, match=f"--host is '{host}'"):
            listen(host, 0)
