"""A real Prometheus that scrapes one Ray session as Ray configures it, and asks as Grafana does."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.system_programs import find_program

ALL = {"SessionName": ".*", "run": ".*", "trial": ".*", "objective": ".*"}
"""Values of the variables where nothing is chosen."""
STEP_S = 15


def wait_for(found: Callable[[], Any], what: str, seconds: float = 240.0) -> Any:
    """First result that is true; errors of a server that is not there yet are waited out."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            if result := found():
                return result
        time.sleep(0.5)
    raise AssertionError(what)


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def scrape(session: Path) -> str:
    """Metrics of all of Ray's processes; the file with their addresses gets some of them late."""
    targets = json.loads((session / "prom_metrics_service_discovery.json").read_text())[0]["targets"]
    return "".join(read(f"http://{target}/metrics") for target in targets)


@dataclass(frozen=True)
class Prometheus:
    """A server, and the start of what is asked for."""

    url: str
    since: float

    def ask(self, path: str) -> Any:
        return json.loads(read(f"{self.url}/api/v1/{path}"))["data"]

    def query_range(self, expression: str, chosen: Mapping[str, str]) -> list[dict[str, Any]]:
        """Series of a panel's query, its variables substituted as Grafana does."""
        now = time.time()
        known = {"__rate_interval": f"{4 * STEP_S}s", "__range": f"{int(now - self.since) + 1}s", **ALL, **chosen}
        text = re.sub(r"\$(\w+)", lambda found: known[found[1]], expression)
        found = self.ask(f"query_range?query={quote(text)}&start={self.since}&end={now}&step={STEP_S}")["result"]
        assert isinstance(found, list)
        return found

    def label_values(self, query: str, chosen: Mapping[str, str]) -> list[str]:
        """Answer to ``label_values(series, label)``."""
        matched = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert matched is not None, query
        series = re.sub(r"\$(\w+)", lambda found: {**ALL, **chosen}[found[1]], matched[1])
        values = self.ask(f"label/{matched[2]}/values?match[]={quote(series)}&start={self.since}&end={time.time()}")
        assert isinstance(values, list)
        return values


@contextmanager
def prometheus_for(session: Path, folder: Path) -> Iterator[Prometheus]:
    """Start it with the configuration that Ray wrote."""
    config = session / "metrics" / "prometheus" / "prometheus.yml"
    wait_for(config.exists, f"Ray has not written {config}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [find_program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log)
        try:
            wait_for(lambda: read(f"http://{address}/-/ready"), "Prometheus does not start")
            yield Prometheus(f"http://{address}", time.time())
        finally:
            process.terminate()
            process.wait(30)
