"""Runs whose driver, ranks and controller are really killed (SIGKILL): the undisturbed run is the oracle, bit for bit.

With a fixed seed. Nodes are killed in a cluster of their own, which needs a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import dump_config
from maxent_ray.errors import ResumeError
from maxent_ray.runtime.connect import NAMESPACE
from maxent_ray.storage.driver_lock import driver_lock
from maxent_ray.storage.run_files import CHECKPOINTS, POLICY
from maxent_ray.train.rank import RankProcess
from maxent_ray.train.ray_train import loop
from maxent_ray.train.ray_train.checkpoints import STATE, prepare_checkpoints
from maxent_ray.train.ray_train.loop import run_training
from maxent_ray.train.ray_train.rank_loop import train_rank
from maxent_ray.train.ray_train.train_job import TrainJob
from tests.conftest import ROOT
from tests.train.ray_train.faults import (
    CHECKPOINT_EVERY,
    RANKS,
    STEPS,
    Process,
    alive,
    check_is_whole,
    checkpoints,
    decisions_of,
    descendants,
    fault_config,
    rows_of,
    wait_until,
    without_agents,
)
from tests.train.ray_train.nodes_main import NAME as NODES

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]  # starts drivers, clusters and workers anew

STOPPING = [sys.executable, "-m", "tests.train.ray_train.stopping_main"]


@pytest.fixture(scope="module")
def config() -> ExperimentConfig:
    return fault_config()


@pytest.fixture(scope="module")
def undisturbed(ray_cluster: None, config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = run_training(config, name="undisturbed", results=tmp_path_factory.mktemp("results")).folder
    check_is_whole(folder)
    return folder


def assert_same(folder: Path, undisturbed: Path) -> None:
    """Coefficients, losses, rewards and decisions, to the last bit, and the trained policy's marks."""
    check_is_whole(folder)
    assert rows_of(folder) == rows_of(undisturbed)
    assert decisions_of(folder) == decisions_of(undisturbed)
    ends = [json.loads((run / "evaluations.jsonl").read_text().splitlines()[-1]) for run in (folder, undisturbed)]
    assert ends[0]["metrics"] == ends[1]["metrics"]
    assert [path.parent.name for path in checkpoints(folder)] == [path.parent.name for path in checkpoints(undisturbed)]
    assert checkpoints(folder)[-1].parent.name == f"checkpoint_{STEPS:08d}"


# --- the driver ---


def own_environment(**more: str) -> dict[str, str]:
    """For another driver, which has to find the tests and its own cluster."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {**kept, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", **more}


def start_driver(stop_at: int, *arguments: str, address: str | None, log: Path) -> subprocess.Popen[bytes]:
    """``maxent-ray train`` whose ranks stop at a step, so that it cannot end before it is killed."""
    environment = own_environment(**({} if address is None else {"RAY_ADDRESS": address}))
    command = [*STOPPING, str(stop_at), "train", *arguments]
    with log.open("wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)


def kill_at_a_checkpoint(driver: subprocess.Popen[bytes], folder: Path, step: int, log: Path) -> set[Process]:
    """SIGKILL as soon as the checkpoint of that step was written, at which the ranks are to stop.

    Until then the folder is the driver's alone.

    Returns:
        The processes that it had started, but for Ray's agents, which take a minute to end.
    """

    def arrived() -> bool:
        assert driver.poll() is None, log.read_text()
        return (folder / CHECKPOINTS / f"checkpoint_{step:08d}" / STATE).exists()

    wait_until(arrived, f"the checkpoint of step {step}")
    with pytest.raises(ResumeError, match=rf"in use by another driver \(process {driver.pid} on"):
        driver_lock(folder).__enter__()
    started = without_agents(descendants(driver.pid))
    driver.kill()
    driver.wait()
    assert not (folder / POLICY).exists()
    return started


def controllers() -> set[str]:
    return {each["name"] for each in ray.util.list_named_actors(all_namespaces=True) if each["namespace"] == NAMESPACE}


def test_a_killed_driver_leaves_nothing_behind_and_its_run_goes_on(
    undisturbed: Path, config: ExperimentConfig, tmp_path: Path
) -> None:
    """Killed with a cluster of its own, whose processes end, and on one that it joined, where its actors do; then its
    newest checkpoint is damaged, refused by name, and removed as the error says.
    """
    folder, log = tmp_path / "killed", tmp_path / "log.txt"
    dump_config(config, tmp_path / "fault.yaml")
    place = ("--config", str(tmp_path / "fault.yaml"), "--name", folder.name, "--results", str(tmp_path))
    first, second = CHECKPOINT_EVERY, 2 * CHECKPOINT_EVERY
    started = kill_at_a_checkpoint(start_driver(first, *place, address=None, log=log), folder, first, log)
    assert len(started) > RANKS  # the cluster's own, and the ranks
    with driver_lock(folder):  # nobody of those has it, whether or not they have ended by now
        wait_until(lambda: not any(map(alive, started)), "the end of what the first driver started")

    before, address = controllers(), ray.get_runtime_context().gcs_address
    driver = start_driver(second, "--resume", str(folder), address=address, log=log)
    kill_at_a_checkpoint(driver, folder, second, log)
    wait_until(lambda: controllers() <= before, "the end of the second driver's controller")
    wait_until(
        lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"],
        "the end of the second driver's ranks",
    )

    with refused_for_a_flipped_bit(folder) as newest:
        run_training(config, name=folder.name, results=tmp_path, resume=True)
    assert controllers() <= before  # refused before anything was started
    shutil.rmtree(newest.parent)
    run_training(config, name=folder.name, results=tmp_path, resume=True)
    assert_same(folder, undisturbed)


@contextmanager
def refused_for_a_flipped_bit(folder: Path) -> Iterator[Path]:
    """The newest checkpoint is damaged, and the block has to be refused with advice that names it."""
    checkpoint = prepare_checkpoints(folder)
    assert checkpoint is not None
    newest = checkpoint / STATE
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    with pytest.raises(ResumeError, match=rf"{newest} is damaged.*remove the folder {newest.parent}; --resume"):
        yield newest


# --- ranks and the controller ---


def dying_processes(settings: dict[str, TrainJob]) -> None:
    """The training function of a run in which the controller, and then rank 1, are killed, once each."""
    job, run = settings["job"], RankProcess.run

    def once(victim: str) -> bool:
        marker = job.folder / f"{victim}-killed"
        first = not marker.exists()
        marker.touch()
        return first

    def run_or_die(process: RankProcess, steps: int) -> Any:
        place = (process.worker.placement.rank, process.worker.next_step)
        if place == (1, 2 * CHECKPOINT_EVERY) and once("rank"):
            os.kill(os.getpid(), signal.SIGKILL)
        if place == (0, CHECKPOINT_EVERY) and once("controller"):
            controller = ray.get_actor(f"maxent-controller-{process.worker.client.run_id}", NAMESPACE)
            os.kill(ray.get(controller.__ray_call__.remote(lambda actor: os.getpid())), signal.SIGKILL)
        return run(process, steps)

    RankProcess.run = run_or_die  # type: ignore[method-assign]  # in the rank's own process
    train_rank(settings)


@pytest.mark.parametrize("lag", [0, 1])
def test_a_killed_controller_and_a_killed_rank_change_nothing(undisturbed: Path, lag: int, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_rank", dying_processes)
        folder = run_training(fault_config(lag), name="killed", results=tmp_path).folder
    killed = {path.name for path in folder.glob("*-killed")}
    assert killed == {"rank-killed", "controller-killed"}
    if lag == 1:
        undisturbed = run_training(fault_config(lag), name="undisturbed", results=tmp_path).folder
    assert_same(folder, undisturbed)


# --- nodes ---


def test_a_killed_node_of_the_controller_and_one_of_a_rank_change_nothing(undisturbed: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.train.ray_train.nodes_main", str(tmp_path)]
    done = subprocess.run(program, env=own_environment(), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / NODES).glob("killed-at-*"))) == 2
    assert_same(tmp_path / NODES, undisturbed)
