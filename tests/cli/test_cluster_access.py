"""Access to a cluster: a control service that asks for a token or not, and a user who has it, another one, or none."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import ray
from ray.core.generated.gcs_service_pb2 import CheckAliveReply
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceServicer, add_NodeInfoGcsServiceServicer_to_server

from maxent_ray.cli import cluster_access, cluster_knock
from maxent_ray.cli.cluster_access import open_access
from maxent_ray.errors import ResourceError

ROOT = Path(__file__).parents[2]
OWN, OTHER = 64 * "a", 64 * "b"


class ControlService(NodeInfoGcsServiceServicer):  # type: ignore[misc]  # Ray's generated classes have no types
    """Answers as Ray's does."""

    def __init__(self, token: str | None, version: str) -> None:
        self._token = token
        self._version = version
        self.heard: list[str | None] = []

    def CheckAlive(self, request: Any, context: Any) -> Any:
        sent = dict(context.invocation_metadata()).get("authorization")
        self.heard.append(sent)
        if self._token is not None and sent != f"Bearer {self._token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return CheckAliveReply(ray_version=self._version)


class Head:
    """A server with a control service."""

    def __init__(self, token: str | None, version: str = ray.__version__) -> None:
        self.service = ControlService(token, version)
        self._server = grpc.server(ThreadPoolExecutor(1))
        add_NodeInfoGcsServiceServicer_to_server(self.service, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def closed() -> Iterator[Head]:
    """Asks for a token."""
    head = Head(OWN)
    yield head
    head.close()


@pytest.fixture
def open_head() -> Iterator[Head]:
    head = Head(None)
    yield head
    head.close()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without a token, and an environment that says nothing of one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cluster_access, "_send_from_now_on", lambda: monkeypatch.setenv("RAY_AUTH_MODE", "token"))
    return tmp_path


def have_token(home: Path, token: str) -> Path:
    file = home / ".ray" / "auth_token"
    file.parent.mkdir(exist_ok=True)
    file.write_text(token)
    return file


def refusal(address: str) -> str:
    with pytest.raises(ResourceError) as raised:
        open_access(address)
    assert OWN not in str(raised.value) and OTHER not in str(raised.value)
    return str(raised.value)


def test_a_token_at_hand_is_sent_to_a_cluster_of_this_machine_that_asks_for_one(closed: Head, home: Path) -> None:
    have_token(home, OWN)
    assert open_access(closed.address) == closed.address
    assert closed.service.heard == [None, f"Bearer {OWN}"]
    assert os.environ["RAY_AUTH_MODE"] == "token"  # Ray sends it too, from now on


def test_nothing_is_sent_or_set_where_nothing_is_asked_for(open_head: Head, home: Path) -> None:
    have_token(home, OWN)
    open_access(open_head.address)
    assert open_head.service.heard == [None]
    assert "RAY_AUTH_MODE" not in os.environ


@pytest.mark.parametrize("mode", ["token", "TOKEN"])
def test_the_mode_token_sends_it_at_once(closed: Head, home: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    have_token(home, OWN)
    open_access(closed.address)
    assert closed.service.heard == [f"Bearer {OWN}"]


def test_variables_win_over_the_file(closed: Head, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = have_token(home, OWN)
    named = file.rename(home / "named")
    have_token(home, OTHER)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(named))
    open_access(closed.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", OTHER)
    assert "the one in RAY_AUTH_TOKEN is not the cluster's" in refusal(closed.address)


def test_without_a_token_the_message_says_where_it_goes(closed: Head) -> None:
    said = refusal(closed.address)
    assert f"the Ray cluster at '{closed.address}' asks for a token, and there is none here" in said
    assert all(name in said for name in ("ray get-auth-token", "~/.ray/auth_token", "RAY_AUTH_TOKEN_PATH"))


def test_another_clusters_token_is_named(closed: Head, home: Path) -> None:
    have_token(home, OTHER)
    assert "the one in ~/.ray/auth_token is not the cluster's" in refusal(closed.address)
    assert "RAY_AUTH_MODE" not in os.environ


def test_a_mode_that_sends_none_is_named(closed: Head, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have_token(home, OWN)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert refusal(closed.address).endswith("and RAY_AUTH_MODE is 'disabled', so that none is sent: unset it")
    assert closed.service.heard == [None]


def test_the_users_token_is_not_handed_to_other_machines_unasked(
    closed: Head, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_token(home, OWN)
    monkeypatch.setattr(cluster_access, "_is_this_machine", lambda endpoint: False)
    said = refusal(closed.address)
    assert said.endswith("and is on another machine: RAY_AUTH_MODE=token sends it the one in ~/.ray/auth_token")
    assert closed.service.heard == [None]


def test_which_machine_is_this_one() -> None:
    assert cluster_access._is_this_machine("127.0.0.1:6379") and cluster_access._is_this_machine("[::1]:6379")
    assert not cluster_access._is_this_machine("203.0.113.9:6379")
    assert not cluster_access._is_this_machine("no-such-host.invalid:6379")


def test_a_token_that_nobody_asks_for_and_nobody_has(open_head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    said = refusal(open_head.address)
    assert said.endswith("asks for no token, but RAY_AUTH_MODE is 'token' and there is none: unset it")


def test_a_file_of_a_token_that_is_not_there_is_named(closed: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere/token")
    assert "RAY_AUTH_TOKEN_PATH is set but file cannot be opened or is empty: /nowhere/token" in refusal(closed.address)


ASK_BOTH = """
import os, sys
from pathlib import Path
from ray._raylet import AuthenticationTokenLoader
from ray.exceptions import AuthenticationError
from maxent_ray.cli.cluster_access import _own_token
from maxent_ray.errors import ResourceError
home = Path(os.environ["HOME"])
(home / "named").write_text(" xy \\nz\\n")
(home / "blank").write_text("\\n")
for content in (None, "own\\n", "\\nlate\\n"):
    if content is not None:
        (home / ".ray").mkdir(exist_ok=True)
        (home / ".ray" / "auth_token").write_text(content)
    for token in ("", "  ", " ab "):
        for path in ("", f"{home}/named", f"{home}/blank", "/nowhere"):
            os.environ.update(RAY_AUTH_TOKEN=token, RAY_AUTH_TOKEN_PATH=path)
            found = []
            loader = AuthenticationTokenLoader.instance()
            loader.reset_cache()
            for ask in (lambda: dict(loader.get_token_for_http_header(ignore_auth_mode=True)), _own_token):
                try:
                    found.append(ask())
                except (AuthenticationError, ResourceError) as error:
                    found.append(str(error.args[0]).removeprefix("Ray's token cannot be read: "))
            assert found[0] == found[1], (content, token, path, found)
"""


def test_a_token_is_found_as_ray_finds_it(home: Path) -> None:
    """In a process of its own: Ray's loader has one memory, which a connected process needs."""
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(home), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", ASK_BOTH]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_another_version_of_ray_is_named() -> None:
    head = Head(None, "2.9.3")
    assert f"runs Ray 2.9.3, and this is Ray {ray.__version__}" in refusal(head.address)
    head.close()


def test_a_port_that_answers_otherwise_is_no_cluster() -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    assert "does not answer as a Ray cluster" in refusal(f"127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_port_that_never_answers_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_knock, "CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "does not answer as a Ray cluster" in refusal(f"127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.parametrize(
    "address", ["nonsense", "192.0.2.7", "", "127.0.0.1:port", "127.0.0.1:99999", "grpc://x:1", "no-host.invalid:1"]
)
def test_what_is_no_address_is_said(address: str) -> None:
    assert refusal(address).startswith(f"no Ray cluster at {address!r}")


HEAD_WITH_A_TOKEN = """
import os, sys
os.environ["RAY_AUTH_MODE"] = "token"
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
JOIN = """
import sys, ray
from maxent_ray.cli.cluster import ray_cluster
from maxent_ray.cli.cluster_options import ClusterOptions
with ray_cluster(ClusterOptions(sys.argv[1])) as cluster:
    print(cluster.describe()[0], ray.get(ray.remote(lambda: 7).remote()))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_with_a_token_is_joined_by_whoever_has_it(home: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-c", HEAD_WITH_A_TOKEN]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=home, env=environment) as head:
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        joined = subprocess.run(
            [sys.executable, "-c", JOIN, address], capture_output=True, text=True, cwd=home, env=environment
        )
        head.communicate("")
    assert joined.stdout == "Ray: joined a cluster with 1 CPUs and 0 GPUs 7\n", joined.stderr
    assert "InvalidAuthToken" not in joined.stderr


def test_a_cluster_that_cannot_be_started_is_one_sentence(home: Path) -> None:
    code = "from maxent_ray.cli.cluster import ray_cluster\nwith ray_cluster(): pass"
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(home), "RAY_AUTH_TOKEN_PATH": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=home, env=environment)
    said = "maxent_ray.errors.ResourceError: cannot start a Ray cluster: RAY_AUTH_TOKEN_PATH is set but file cannot be"
    assert done.stderr.splitlines()[-1].startswith(said)
