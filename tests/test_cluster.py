"""Ray for a command: a cluster of its own, one that is there already, or a clear word that there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maxent_ray.cluster import join
from maxent_ray.errors import ResourceError

ROOT = Path(__file__).parents[1]

OWN_CLUSTER = """
import os, urllib.error, urllib.request
from pathlib import Path

os.environ["HOME"] = os.getcwd()  # a token of its own
os.environ.pop("RAY_AUTH_MODE", None)

from maxent_ray.cluster import ray_cluster

def status(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

with ray_cluster() as cluster:
    assert cluster.started and cluster.cpus >= 1
    assert cluster.token_command == "cat ~/.ray/auth_token"
    token = Path("~/.ray/auth_token").expanduser().read_text().strip()
    url = f"{cluster.dashboard}/api/jobs/"
    print(status(url), status(url, Authorization=f"Bearer {token}"))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_of_its_own_shows_its_dashboard_to_the_token_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWN_CLUSTER]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    )
    assert done.stdout.split() == ["401", "200"], done.stderr


@pytest.mark.ray
def test_a_cluster_that_this_process_uses_is_used_and_stays(ray_cluster: None) -> None:
    import ray

    from maxent_ray.cluster import ray_cluster as for_a_command

    with for_a_command() as cluster:
        assert not cluster.started
        assert cluster.cpus == 4
        assert cluster.describe() == ["Ray: joined a cluster with 4 CPUs and 0 GPUs"]
    assert ray.is_initialized()


@pytest.mark.parametrize(("address", "said"), [("127.0.0.1:1", "refused"), ("http://127.0.0.1:8265", "dashboard")])
def test_a_cluster_that_is_not_there_is_said_at_once(address: str, said: str) -> None:
    with pytest.raises(ResourceError, match=f"no Ray cluster at '{address}'.*{said}"):
        join(address)
