from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from maxent_ray.dashboard.grafana.install import (
    FOLDER_VARIABLE,
    SHIPPED,
    install_and_describe,
    install_panels,
    ray_folder,
)
from maxent_ray.dashboard.grafana.panels import UID
from maxent_ray.dashboard.grafana.reachability import GRAFANA, PROMETHEUS
from maxent_ray.errors import ConfigError, RecordingError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of sessions, near enough for the names of sockets, which are short."""
    monkeypatch.chdir(tmp_path)
    made = Path("ray")
    made.mkdir()
    yield made


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def session(root: Path, name: str, alive: ExitStack | None = None) -> Path:
    """A session's folder as Ray leaves it; returns its folder of dashboards."""
    folder = root / name / "metrics" / "grafana" / "dashboards"
    folder.mkdir(parents=True)
    (root / name / "sockets").mkdir()
    raylet = socket.socket(socket.AF_UNIX)
    raylet.bind(str(root / name / "sockets" / "raylet"))
    if alive is None:
        raylet.close()
    else:
        raylet.listen()
        alive.enter_context(raylet)
    return folder


def of(root: Path) -> dict[str, str]:
    return {"RAY_TMPDIR": str(root.parent)}


def test_it_lands_beside_rays_own_dashboards(root: Path, sockets: ExitStack) -> None:
    session(root, "session_2026-01-01_00-00-00_1_1")  # an old one, which stays on disk
    folder = session(root, "session_2026-01-02_00-00-00_1_2", sockets)
    (folder / "default_grafana_dashboard.json").write_text('{"uid": "rayDefaultDashboard"}')
    installed = install_panels(environment=of(root))
    assert installed.path == folder / "maxent_ray.json" and installed.replaced == ()
    assert json.loads(installed.path.read_text())["uid"] == UID
    assert len(list(folder.iterdir())) == 2
    assert install_panels(environment=of(root)) == installed  # a second time


def test_the_folder_of_the_environment_comes_first(root: Path, sockets: ExitStack, tmp_path: Path) -> None:
    session(root, "session_2026-01-02_00-00-00_1_2", sockets)
    named = tmp_path / "dashboards"
    named.mkdir()
    installed = install_panels(environment={**of(root), FOLDER_VARIABLE: str(named)})
    assert installed.path == named / "maxent_ray.json"
    other = tmp_path / "other"
    other.mkdir()
    assert install_panels(other, {FOLDER_VARIABLE: str(named)}).path.parent == other


def test_where_it_is_rays_default_rays_file_makes_way(tmp_path: Path) -> None:
    """``RAY_GRAFANA_DEFAULT_DASHBOARD_UID`` gives Ray's own dashboard our identifier; Grafana would load neither."""
    taken = tmp_path / "default_grafana_dashboard.json"
    taken.write_text(json.dumps({"uid": UID}))
    for name, content in (("odd.json", "[1]"), ("torn.json", '{"uid": "'), ("other.json", '{"uid": "x"}')):
        (tmp_path / name).write_text(content)
    assert install_panels(tmp_path).replaced == (taken,)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"maxent_ray.json", "odd.json", "other.json", "torn.json"}


def test_the_user_is_told_where_it_is_and_what_does_not_answer(tmp_path: Path) -> None:
    taken = tmp_path / "default_grafana_dashboard.json"
    taken.write_text(json.dumps({"uid": UID}))
    nowhere = {GRAFANA: "http://127.0.0.1:9", PROMETHEUS: "http://127.0.0.1:9"}  # the port "discard"
    lines = install_and_describe({FOLDER_VARIABLE: str(tmp_path), **nowhere})
    assert lines[:2] == [
        f"Grafana dashboard: {tmp_path / 'maxent_ray.json'}",
        f"It takes the place of {taken}, which had its identifier",
    ]
    assert [line.split(" at ")[0] for line in lines[2:]] == ["Grafana", "Prometheus"]
    assert all("cannot be reached" in line for line in lines[2:])


def test_without_a_running_cluster_it_says_where_to_run(root: Path) -> None:
    session(root, "session_2026-01-01_00-00-00_1_1")
    with pytest.raises(ConfigError, match=r"no Ray cluster with a dashboard runs on this machine .*`ray start --head`"):
        install_panels(environment=of(root))


def test_several_clusters_are_named(root: Path, sockets: ExitStack) -> None:
    folders = [session(root, f"session_2026-01-0{day}_00-00-00_1_1", sockets) for day in (1, 2)]
    with pytest.raises(ConfigError, match="2 Ray clusters run on this machine") as raised:
        install_panels(environment=of(root))
    assert all(str(folder) in str(raised.value) for folder in folders) and FOLDER_VARIABLE in str(raised.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ConfigError, match=f"missing \\({FOLDER_VARIABLE}\\) is no folder"):
        install_panels(environment={FOLDER_VARIABLE: str(missing)})
    with pytest.raises(ConfigError, match="missing is no folder; name the one that Grafana reads dashboards from"):
        install_panels(missing)


def test_a_folder_that_is_not_writable_says_so() -> None:
    """One that not even root may write to."""
    with pytest.raises(RecordingError, match=r"cannot write /sys/kernel/maxent_ray.json: .* make /sys/kernel writable"):
        install_panels(Path("/sys/kernel"))


def test_rays_folder_is_where_ray_puts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._common.utils import get_default_ray_temp_dir

    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)
    assert str(ray_folder()) == get_default_ray_temp_dir()
    for name, value in (("TMPDIR", "/a"), ("RAY_TMPDIR", "/b")):
        monkeypatch.setenv(name, value)
        assert str(ray_folder()) == get_default_ray_temp_dir() == f"{value}/ray"


def test_the_shipped_file_is_in_the_package(tmp_path: Path) -> None:
    shutil.copy(SHIPPED, tmp_path)
    assert json.loads((tmp_path / SHIPPED.name).read_text(encoding="utf-8"))["title"] == "maxent_ray"
