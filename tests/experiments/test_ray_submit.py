"""`ray up` and `ray submit` with `experiments/cluster/local.yaml`, over an sshd of the test's own."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from maxent_ray.storage.run_files import read_rows
from tests.ray_head import RAY, ROOT, free_port
from tests.system_programs import find_program
from tests.train.ray_train.faults import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
TUNNEL = """
import os, socket, sys, threading
there = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def copy():
    while data := there.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=copy, daemon=True).start()
while data := os.read(0, 65536):
    there.sendall(data)
"""
"""Connects ssh to a port, which Ray's cluster files cannot name."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Home of the user who logs in, whose login shell has this package for its Python."""
    home = tmp_path / "home"
    home.mkdir()
    lines = {
        "PATH": f"{Path(sys.executable).parent}:$PATH",
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    profile = "".join(f'export {name}="{value}"\n' for name, value in lines.items())
    for name in (".bash_profile", ".bashrc"):
        (home / name).write_text(profile)
    return home


@contextmanager
def sshd(folder: Path, home: Path) -> Iterator[tuple[int, Path]]:
    """An ssh server for this user alone, with keys of its own; yields its port and the user's key."""
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    port = free_port()
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "authorized",
        "AllowUsers": getpass.getuser(),
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
        "StrictModes": "no",  # folders of tests may be open to others
        "SetEnv": f"HOME={home}",
        "PidFile": folder / "pid",
    }
    (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # Debian's sshd wants it
    command = [find_program("sshd"), "-D", "-e", "-f", str(folder / "config")]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            wait_until(lambda: server.poll() is not None or "listening" in (folder / "log").read_text(), "sshd")
            assert server.poll() is None, (folder / "log").read_text()
            yield port, folder / "user"
        finally:
            server.terminate()


def write_cluster(target: Path, port: int, key: Path, temp: Path) -> str:
    """Write local.yaml for this user, this sshd and free ports; returns the address of the cluster."""
    cluster = yaml.safe_load((ROOT / "experiments" / "cluster" / "local.yaml").read_text(encoding="utf-8"))
    tunnel = target.with_name("tunnel.py")
    tunnel.write_text(TUNNEL)
    cluster["cluster_name"] = f"maxent-test-{uuid4().hex[:8]}"
    cluster["auth"] = {
        "ssh_user": getpass.getuser(),
        "ssh_private_key": str(key),
        "ssh_proxy_command": shlex.join([sys.executable, str(tunnel), str(port)]),
    }
    gcs, ports = free_port(), ("dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")
    own = " ".join([f"--temp-dir={temp}", "--num-cpus=2", *(f"--{name}={free_port()}" for name in ports)])
    own += " --object-store-memory=100000000 --node-ip-address=127.0.0.1"
    (start,) = cluster["head_start_ray_commands"]
    assert "--port=6379" in start
    cluster["head_start_ray_commands"] = [start.replace("--port=6379", f"--port={gcs} {own}")]
    target.write_text(yaml.safe_dump(cluster))
    return f"127.0.0.1:{gcs}"


def end_processes(temp: Path) -> None:
    """End the processes of the cluster in ``temp``: `ray down` would end every cluster of this machine."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in processes(temp):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + 10
        while processes(temp) and time.monotonic() < deadline:
            time.sleep(0.1)


def processes(temp: Path) -> list[int]:
    """Processes with a folder in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(temp).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def test_a_run_by_ray_up_and_ray_submit(tmp_path: Path, home: Path) -> None:
    find_program("rsync")
    temp = Path("/tmp") / f"ray-up-{uuid4().hex[:8]}"
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "TMPDIR": str(tmp_path)}

    def ray(*words: str) -> str:
        done = subprocess.run([RAY, *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr + log.read_text()
        return done.stdout

    cluster, log = tmp_path / "cluster.yaml", tmp_path / "ssh" / "log"
    results = ["--results", str(tmp_path / "results"), "--name", "mine", "--no-gpu"]
    smoke = ["--config", str(ROOT / "experiments" / "configs" / "smoke.yaml")]
    with sshd(tmp_path / "ssh", home) as (port, key):
        address = write_cluster(cluster, port, key, temp)
        try:
            ray("up", "--yes", "--no-config-cache", str(cluster))
            said = ray(
                *("submit", str(cluster), str(ROOT / "experiments" / "train.py"), "--"),
                *("--ray-address", address, *smoke, *results),
            )
        finally:
            end_processes(temp)
            shutil.rmtree(temp, ignore_errors=True)
    assert "joined a cluster with 2 CPUs" in said and "Held-out comparison" in said
    rows = read_rows(tmp_path / "results" / "mine" / "rows.jsonl")
    assert [row["step"] for row in rows] == list(range(6))
    assert (home / "train.py").is_file() and (home / "ray_bootstrap_config.yaml").is_file()
