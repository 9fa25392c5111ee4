"""Ray for a command: a cluster of its own, one that is there already, or a clear word that there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maxent_ray.cli.cluster import Cluster, join
from maxent_ray.cli.cluster import ray_cluster as for_a_command
from maxent_ray.cli.cluster_options import ClusterOptions, is_loopback
from maxent_ray.errors import ConfigError, ResourceError

ROOT = Path(__file__).parents[2]

OWN_CLUSTER = """
import os, sys, urllib.error, urllib.request
from pathlib import Path

os.environ["HOME"] = os.getcwd()  # a token of its own

from maxent_ray.cli.cluster import ray_cluster
from maxent_ray.cli.cluster_options import ClusterOptions
import psutil  # Ray's own copy

def status(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

def listening(port):
    return [
        socket.laddr.ip
        for process in psutil.Process().children(recursive=True)
        for socket in process.net_connections()
        if socket.status == psutil.CONN_LISTEN and socket.laddr.port == port
    ]

host = sys.argv[1] if sys.argv[1:] else None
with ray_cluster(ClusterOptions(os.environ.get("RAY_ADDRESS"), host)) as cluster:
    assert cluster.started and cluster.cpus >= 1 and "started a local cluster" in cluster.describe()[0]
    print(os.environ["RAY_AUTH_MODE"], *listening(int(cluster.dashboard.rpartition(":")[2])), len(cluster.warnings()))
    token = Path("~/.ray/auth_token").expanduser()
    url = f"{cluster.dashboard}/api/jobs/"
    bearer = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}
    print(status(url), status(url, Authorization="Bearer " + 64 * "0"), status(url, **bearer))
    print(cluster.token_command)
    print(oct(token.stat().st_mode & 0o777) if token.exists() else None)
    if sys.argv[1:]:
        break_in()
"""

BREAK_IN = """
def break_in():
    import ray, subprocess
    address = ray.get_runtime_context().gcs_address
    knock = f"from ray._raylet import GcsClient as G; G(address={address!r}).get_all_node_info(timeout=2); print('in')"
    for change in {}, {"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": 64 * "0"}:
        done = subprocess.run([sys.executable, "-c", knock], env=os.environ | change, capture_output=True, text=True)
        print(done.stdout.strip() or "out")
    print(status(f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"))
"""


def own_cluster(folder: Path, *host: str, **environment: str) -> list[str]:
    """What a new process that starts a cluster sees of it, in a home without a token."""
    done = subprocess.run(
        [sys.executable, "-c", BREAK_IN + OWN_CLUSTER, *host],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_of_its_own_asks_for_a_token_and_shows_its_dashboard_to_this_machine_alone(tmp_path: Path) -> None:
    """Without, with a wrong and with the right token; the socket is the one that the kernel knows."""
    assert own_cluster(tmp_path) == ["token 127.0.0.1 0", "401 403 200", "cat ~/.ray/auth_token", "0o600"]


@pytest.mark.ray
@pytest.mark.slow
def test_the_address_local_starts_one_like_no_address_at_all(tmp_path: Path) -> None:
    """The way in which ``RAY_ADDRESS=local`` comes from the command line; with a host for the dashboard, even so."""
    seen = own_cluster(tmp_path, "localhost", RAY_ADDRESS="local")
    assert seen[:4] == ["token 127.0.0.1 0", "401 403 200", "cat ~/.ray/auth_token", "0o600"]


@pytest.mark.ray
@pytest.mark.slow
def test_asked_to_the_dashboard_listens_elsewhere_with_a_warning_and_still_asks_for_the_token(tmp_path: Path) -> None:
    seen = own_cluster(tmp_path, "0.0.0.0")
    assert seen[:2] == ["token 0.0.0.0 1", "401 403 200"]
    assert seen[4:7] == ["in", "out", "out"]  # with the token, with none, with another one
    assert seen[7] == "200"  # Ray shows its metrics to everyone: security.md says so


@pytest.mark.ray
@pytest.mark.slow
def test_only_the_user_switches_the_token_off_and_is_warned(tmp_path: Path) -> None:
    seen = own_cluster(tmp_path, RAY_AUTH_MODE="disabled")
    assert seen == ["disabled 127.0.0.1 1", "200 200 200", "None", "None"]


@pytest.fixture
def no_cluster_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a fresh process: other tests share a cluster that stays for the whole session."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)


@pytest.mark.usefixtures("no_cluster_yet")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "my-host.example"])
def test_without_a_token_the_dashboard_stays_on_the_loopback_address(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with (
        pytest.raises(ConfigError, match=rf"--dashboard-host is '{host}' and RAY_AUTH_MODE is 'disabled'"),
        for_a_command(ClusterOptions(dashboard_host=host)),
    ):
        raise AssertionError("a cluster was started")
    ClusterOptions(dashboard_host="localhost").check()


@pytest.mark.usefixtures("no_cluster_yet")
@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.9", ""])
def test_a_host_that_is_not_this_machine_is_refused_at_once(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(ConfigError, match=rf"--dashboard-host is '{host}' \("):
        ClusterOptions(dashboard_host=host).check()


def test_a_cluster_that_is_joined_has_its_dashboard_already() -> None:
    with pytest.raises(ConfigError, match=r"'0.0.0.0', but the cluster at '10.0.0.1:6379' has its dashboard"):
        ClusterOptions("10.0.0.1:6379", "0.0.0.0").check()


def test_names_other_than_localhost_may_lead_anywhere() -> None:
    assert is_loopback("127.8.9.10") and is_loopback("::1") and is_loopback("localhost")
    assert not any(map(is_loopback, ("127.0.0.1.example", "localhost.example", "2130706433", "", "::ffff:192.0.2.1")))


def test_who_joins_a_cluster_is_not_warned_of_what_others_chose() -> None:
    assert Cluster(False, 2, 0, "http://192.0.2.7:8265", None).warnings() == []


@pytest.mark.ray
def test_a_cluster_that_this_process_uses_is_used_and_stays(ray_cluster: None) -> None:
    import ray

    with for_a_command() as cluster:
        assert not cluster.started
        assert cluster.cpus == 4
        assert cluster.describe() == ["Ray: joined a cluster with 4 CPUs and 0 GPUs"]
    assert ray.is_initialized()
    for address in (None, "local"):
        with pytest.raises(ConfigError, match="the cluster that this process uses has its dashboard"):
            ClusterOptions(address, "127.0.0.1").check()


@pytest.mark.parametrize(("address", "said"), [("127.0.0.1:1", "refused"), ("http://127.0.0.1:8265", "dashboard")])
def test_a_cluster_that_is_not_there_is_said_at_once(address: str, said: str) -> None:
    with pytest.raises(ResourceError, match=f"no Ray cluster at '{address}'.*{said}"):
        join(address)
