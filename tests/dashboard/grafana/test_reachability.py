from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from maxent_ray.dashboard.grafana.reachability import GRAFANA, PROMETHEUS, grafana_state, prometheus_state

Serve = Callable[[int, str], str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with one answer; returns its address."""
    servers: list[HTTPServer] = []

    def start(status: int, body: str) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *arguments: object) -> None: ...

        server = HTTPServer(("127.0.0.1", 0), Answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def nowhere() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_what_is_not_there_says_how_to_start_it(nowhere: str) -> None:
    named = nowhere.replace("http://", "http://me:secret@")
    told = grafana_state({GRAFANA: nowhere}), prometheus_state({PROMETHEUS: nowhere})
    assert "cannot be reached" in told[0] and "grafana.ini" in told[0] and f"set {GRAFANA} to its address" in told[0]
    assert "cannot be reached" in told[1] and "prometheus.yml" in told[1] and nowhere in told[1]
    assert "secret" not in grafana_state({GRAFANA: named}) + prometheus_state({PROMETHEUS: named})


def test_what_is_something_else_says_so(serve: Serve) -> None:
    for body in ("<html>", "[1]"):
        assert "is not Grafana: set RAY_GRAFANA_HOST" in grafana_state({GRAFANA: serve(200, body)})
        assert "is not Prometheus: set RAY_PROMETHEUS_HOST" in prometheus_state({PROMETHEUS: serve(200, body)})
    assert "is not Grafana" in grafana_state({GRAFANA: "nonsense"})
    assert "answers 401" in prometheus_state({PROMETHEUS: serve(401, "")})


def test_what_works_says_where(serve: Serve) -> None:
    host = serve(200, '{"database": "ok"}')
    assert grafana_state({GRAFANA: f"{host}/"}) == f"in Grafana: {host}/d/maxentRay"
    empty = serve(200, '{"status": "success", "data": {"result": []}}')
    assert "has no run's metrics: start it with --config.file=" in prometheus_state({PROMETHEUS: empty})
    some = serve(200, '{"status": "success", "data": {"result": [{"value": [0, "3"]}]}}')
    assert prometheus_state({PROMETHEUS: some}).endswith("has the metrics of 3 run(s)")
    assert "is DISABLED" in grafana_state({GRAFANA: "DISABLED"})
