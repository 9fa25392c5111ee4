"""A cluster that a command starts has the results page in the Metrics tab of its dashboard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from maxent_ray.cli.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
OWN_CLUSTER = """
import json, os, sys, time, urllib.request
from pathlib import Path
from maxent_ray.cli.cluster import ray_cluster

token = Path("~/.ray/auth_token").expanduser()

def fetch(url):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token.read_text().strip()}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)

def healthy(url):
    for _ in range(60):
        try:
            return fetch(url)
        except OSError:  # the dashboard's modules start after Ray
            time.sleep(1)

with ray_cluster(results=Path("results")) as cluster:
    grafana = healthy(f"{cluster.dashboard}/api/grafana_health")
    prometheus = healthy(f"{cluster.dashboard}/api/prometheus_health")
    runs = fetch(f"{cluster.page}/api/runs")["runs"]
    shown = [grafana["data"]["grafanaHost"], grafana["result"], prometheus["result"], runs]
    print(json.dumps([cluster.page, *shown, cluster.describe()[-1], "RAY_GRAFANA_HOST" in os.environ]))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_the_dashboard_of_a_started_cluster_shows_the_page(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OWN_CLUSTER],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    page, frame, grafana, prometheus, runs, line, stays = json.loads(done.stdout.splitlines()[-1])
    assert (frame, grafana, prometheus, runs, stays) == (page, True, True, [], False)
    assert line == f"Results page: {page}, also in the dashboard's Metrics tab"


def test_a_page_that_is_missing_is_one_warning() -> None:
    cluster = Cluster(False, 2, 0, None, None, page_problem="no port is free")
    assert cluster.warnings() == ["Warning: there is no results page (no port is free); the run goes on without it"]
    assert len(cluster.describe()) == 1
