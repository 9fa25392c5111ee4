"""Sweeps of toy trials on a real Ray cluster: proposed by Optuna, stopped early, interrupted and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import load_config
from maxent_ray.errors import ConfigError
from maxent_ray.storage.run_files import planned_trials, read_rows
from maxent_ray.train.run_folder import RunInterrupted
from maxent_ray.tune import optuna_points
from maxent_ray.tune.early_stopping import read_rungs
from maxent_ray.tune.execution import RunResult
from maxent_ray.tune.sweep import run_sweep, sweep_size
from tests.tune.test_comparison import Listener
from tests.tune.toy import ToyTrial

KL = "controller.target_kl"
SMALL = (
    "train.steps=8",
    "train.cpus_per_worker=4",  # one trial at a time: proposals are repeatable
    "tune.steps_per_report=2",
    "tune.perturbation_interval=4",
    "tune.grace_period=4",
    "tune.samples=5",
    "tune.objectives=[analytic]",
    f"tune.search_space={{{KL}: {{type: loguniform, low: 0.03, high: 0.15}}}}",
)


def small(*overrides: str) -> ExperimentConfig:
    return load_config(overrides=[*SMALL, *overrides])


def sweep(config: ExperimentConfig, results: Path, **options: Any) -> RunResult:
    return run_sweep(config, name="toy", results=results, trainable=ToyTrial, **options)


def test_the_size_of_a_sweep_is_known_beforehand() -> None:
    assert sweep_size(small("tune.search=grid")) == (3 + 3, (3 + 2) * 8)
    assert sweep_size(small("tune.search=random", "tune.references=false")) == (5, 40)
    assert sweep_size(small("tune.search=optuna")) == (5 + 3, (5 + 2) * 8)


def test_what_is_missing_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"grace_period is 8; .* below train\.steps = 8"):
        sweep(small("tune.scheduler=asha", "tune.grace_period=8"), tmp_path)
    monkeypatch.setattr(optuna_points, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'maxent-ray\[optuna\]'"):
        sweep(small("tune.search=optuna"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
def test_a_search_that_stops_early_is_resumed_where_it_was(ray_cluster: None, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    config = small("tune.search=optuna", "tune.scheduler=asha")
    whole = sweep(config, tmp_path / "whole")
    assert len(whole.finished) + len(whole.stopped) == 8 and whole.stopped and not whole.failed
    assert {"warm_start", "grpo", "fixed"} <= {*whole.finished}
    with pytest.raises(RunInterrupted):
        sweep(config, tmp_path / "halves", listeners=[Listener(interrupt_after=14)])
    resumed = sweep(config, tmp_path / "halves", resume=True)
    assert (set(resumed.finished), set(resumed.stopped)) == (set(whole.finished), set(whole.stopped))
    assert planned_trials(resumed.folder) == planned_trials(whole.folder)
    stops = {rung.trial: rung for rung in read_rungs(whole.folder) if rung.stopped}
    assert set(stops) == set(whole.stopped)
    for trial, stop in stops.items():
        steps = [row["step"] for row in read_rows(whole.folder / "rows.jsonl") if row["trial"] == trial]
        assert stop.step == len(steps) < 8 and stop.cutoff is not None and stop.score < stop.cutoff
    again = sweep(config, tmp_path / "halves", resume=True)  # nothing is left to do
    assert (set(again.finished), set(again.stopped)) == (set(whole.finished), set(whole.stopped))
