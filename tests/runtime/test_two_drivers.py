"""Two drivers on one cluster that give their runs one name: each has a controller of its own, and all its ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray

from maxent_ray.core.controller import Controller
from tests.conftest import ROOT
from tests.runtime.driver_main import CONFIG, STEPS, measured_kl

pytestmark = pytest.mark.ray

KLS = (10 * 0.05, 0.05 / 10)
"""Of the two runs: ten times their target, and a tenth of it."""


@contextmanager
def drivers(run_id: str, ranks: int, meetings: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    address = ray.get_runtime_context().gcs_address
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    program = [sys.executable, "-m", "tests.runtime.driver_main", address, run_id, str(ranks)]
    started = [
        subprocess.Popen(
            [*program, meeting, str(kl)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for meeting, kl in zip(meetings, KLS, strict=True)
    ]
    try:
        yield started
    finally:
        for driver in started:
            driver.kill()
            driver.communicate()


def said(driver: subprocess.Popen[str]) -> Any:
    assert driver.stdout is not None
    return json.loads(next(line for line in driver.stdout if line.startswith(("[", "{"))))


def go_on(driver: subprocess.Popen[str]) -> None:
    assert driver.stdin is not None
    driver.stdin.write("\n")
    driver.stdin.flush()


def betas_of_a_run_alone(kl: float) -> list[float]:
    controller = Controller(CONFIG)
    states = [controller.init()]
    for _ in range(STEPS):
        states.append(controller.step(states[-1], measured_kl(kl))[0])
    return [state.coefficients(0).beta for state in states]


@pytest.mark.parametrize(
    ("ranks", "meet"),
    [
        (1, "actor"),
        pytest.param(2, "actor", marks=pytest.mark.slow),
        pytest.param(2, "group", marks=pytest.mark.slow),
    ],
)
def test_each_moves_its_own_coefficient(ray_cluster: None, run_id: str, ranks: int, meet: str, tmp_path: Path) -> None:
    """One measures a KL ten times its target and the other a tenth: β rises in the one and falls in the other."""
    meetings = ["actor"] * 2 if meet == "actor" else [str(tmp_path / name) for name in "ab"]
    with drivers(run_id, ranks, meetings) as started:
        names = [said(driver) for driver in started]
        assert sorted(names) == [[run_id] * ranks, [f"{run_id}-2"] * ranks]
        for driver in started:
            go_on(driver)
        for driver, kl in zip(started, KLS, strict=True):
            found = said(driver)
            assert found["betas"] == [betas_of_a_run_alone(kl)] * ranks
            assert found["kl"] == [kl] * STEPS
    rising, falling = map(betas_of_a_run_alone, KLS)
    assert rising[-1] > CONFIG.beta > falling[-1]
