"""Several processes, kills, and training that is resumed in another process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maxent_ray import BatchStatistics, Controller, ControllerConfig
from maxent_ray.core.statistics import merge_all
from tests.integrations.trl.rank_main import run
from tests.integrations.trl.support import tiny_model

ROOT = Path(__file__).resolve().parents[3]
GRPO = {"kind": "grpo", "controller": {"target_kl": 0.02, "target_entropy": 2.5}, "arguments": {"entropy_coef": 0.01}}
LISTWISE = {
    "kind": "listwise",
    "controller": {"target_kl": 0.02, "target_entropy": 1.3},
    "arguments": {"loss_type": "grpo"},
}


def start(model: str, output: Path, settings: dict[str, Any], rank: int = 0, world: int = 1, port: int = 0) -> Any:
    """Start one process, with the variables that accelerate sets where there are several."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    several = {name: str(value) for name, value in ranks.items()} if world > 1 else {}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integrations.trl.rank_main", model, str(output), json.dumps(settings)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **several},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def record(process: Any) -> dict[str, Any]:
    """Wait for a process and read its record."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    found: dict[str, Any] = json.loads(output.split("RECORD ")[1].splitlines()[0])
    return found


def changed(settings: dict[str, Any], arguments: dict[str, Any], **others: Any) -> dict[str, Any]:
    return {**settings, "arguments": {**settings["arguments"], **arguments}, **others}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("settings", [GRPO, LISTWISE], ids=["grpo", "listwise"])
def test_two_processes_train_with_the_same_coefficients(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Each process's tokens count once: the controller alone, given the sums of both, decides the same."""
    model = tiny_model(tmp_path / "model")
    settings = changed(settings, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 5})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start(model, tmp_path / "out", settings, rank, 2, port) for rank in range(2)]
    first, second = map(record, processes)
    assert first["used"] == second["used"]
    assert len({tuple(used[1:]) for used in first["used"]}) == 5
    if settings["kind"] == "listwise":
        return
    sums = [BatchStatistics.from_dict(each) for found in (first, second) for each in found["statistics"]]
    steps = [used[0] for used in first["used"]] * 2
    assert sums[0].tokens != sums[len(sums) // 2].tokens
    controller = Controller(
        ControllerConfig(entropy_signal="policy_entropy", tau=0.01, beta=0.1, **settings["controller"])
    )
    state, expected = controller.init(), []
    for step in range(5):
        expected.append((state.tau, state.beta))
        state, _ = controller.step(state, merge_all(each for each, of in zip(sums, steps, strict=True) if of == step))
    for step, _, entropy_coef, beta in first["used"]:
        assert (entropy_coef, beta) == pytest.approx(expected[step], rel=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("settings", [GRPO, LISTWISE], ids=["grpo", "listwise"])
def test_a_killed_training_resumes_with_the_coefficients_of_the_undisturbed_one(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Killed in one process after step 7, it resumes in another one (this) from its checkpoint of step 4."""
    model = tiny_model(tmp_path / "model")
    saving = {"save_strategy": "steps", "save_steps": 4, "max_steps": 10, "num_iterations": 2}
    settings = changed(settings, saving)
    killed = start(model, tmp_path / "killed", {**settings, "kill_at": 7})
    _, errors = killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL, errors[-3000:]
    whole = run(model, str(tmp_path / "whole"), settings)
    resumed = run(model, str(tmp_path / "killed"), {**settings, "resume": True})
    assert [used[0] for used in resumed["used"]] == list(range(4, 10))
    assert resumed["used"] == whole["used"][4:]
    assert resumed["statistics"] == whole["statistics"][4:]
