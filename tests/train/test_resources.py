"""Threads of a rank: its share of the cluster's CPUs, while as many ranks train as fit."""

from __future__ import annotations

from typing import Any

import pytest

from maxent_ray.config import TrainSettings
from maxent_ray.train.resources import rank_threads


def machines(*cpus: float) -> list[dict[str, Any]]:
    return [{"Alive": True, "Resources": {"CPU": each} if each else {}} for each in cpus]


@pytest.mark.parametrize(
    ("cpus", "settings", "runs", "threads"),
    [
        ([2], {}, 1, 2),  # a single run takes what there is
        ([2], {"num_workers": 2}, 1, 1),
        ([8], {"num_workers": 3}, 1, 2),
        ([2], {}, 8, 1),  # a population shares it
        ([16], {}, 4, 4),
        ([16], {"cpus_per_worker": 4}, 8, 4),
        ([16], {"cpus_per_worker": 4}, 1, 16),
        ([4], {"cpus_per_worker": 0.25}, 100, 1),
        ([8, 8], {"num_workers": 2}, 1, 8),  # of two machines
        ([8, 2, 0], {}, 1, 2),  # no more than the smaller one has; the third has no CPUs for Ray
        ([16], {"threads_per_worker": 3}, 1, 3),
    ],
)
def test_share(
    cpus: list[float], settings: dict[str, Any], runs: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("ray.nodes", lambda: machines(*cpus))
    assert rank_threads(TrainSettings(**settings), runs) == threads


def test_the_environment_of_the_command_limits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.nodes", lambda: machines(16))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert rank_threads(TrainSettings()) == 2
    assert rank_threads(TrainSettings(threads_per_worker=5)) == 5
