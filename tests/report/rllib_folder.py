"""Results folders as runs of RLlib leave them: two modules a trial, or one run whose length nobody knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maxent_ray.config import AlgorithmSettings, RLlibConfig, RLlibTrainSettings, RLlibTuneSettings, dump_config
from maxent_ray.core.signals import SIGNALS
from tests.report.results_folder import write_lines

STEPS, INTERVAL = 6, 2
TRIALS = {"analytic-0": "analytic", "analytic-1": "analytic", "rllib": "rllib"}
MODULES = ("left", "right")
PPO = AlgorithmSettings(algorithm="PPO", environment="CartPole-v1", settings={"lr": 1e-3})


def row(name: str, objective: str, step: int, episode_return: float | None, **signals: float) -> dict[str, Any]:
    known = {"tau": 0.01, "beta": 0.2, "entropy": 0.6, "target_entropy": 0.5, "kl": 0.012, "target_kl": 0.01}
    values = {**dict.fromkeys(signal.name for signal in SIGNALS), **known, **signals, "episode_return": episode_return}
    return {"step": step, "rank": 0, "objective": objective, **values, "trial": name, "segment": 0}


def write_population(folder: Path, *, finished: bool = True) -> Path:
    """Trial ``analytic-1`` returns most, and ``analytic-0`` was cloned from it; module ``right`` one more than left."""
    folder.mkdir()
    tune = RLlibTuneSettings(
        trials_per_objective=2,
        perturbation_interval=INTERVAL,
        search_space={"rllib.lr": {"type": "loguniform", "low": 1e-4, "high": 1e-2}},
    )
    config = RLlibConfig(rllib=PPO, controller={"target_kl": 0.01}, train=RLlibTrainSettings(steps=STEPS), tune=tune)
    dump_config(config, folder / "config.yaml")
    names = [(f"{trial}/{module}", trial, module) for trial in TRIALS for module in MODULES]
    plan = {"steps": STEPS, "settings": {"rllib.lr": 1e-3}, "overrides": {}, "command": "rllib"}
    write_lines(folder / "trials.jsonl", ({"trial": name, "objective": TRIALS[t], **plan} for name, t, _ in names))
    write_lines(folder / "rows.jsonl", _rows(names))
    clone = {"step": INTERVAL, "new_objective": "analytic", "new": {"rllib.lr": 2e-3}}
    pairs = ((f"analytic-0/{module}", f"analytic-1/{module}") for module in MODULES)
    write_lines(folder / "lineage.jsonl", ({**clone, "recipient": r, "donor": d} for r, d in pairs))
    if finished:
        ends = (
            {"trial": name, "objective": TRIALS[t], "settings": plan["settings"], "metrics": {}} for name, t, _ in names
        )
        write_lines(folder / "evaluations.jsonl", ends)
    return folder


def write_open_ended(folder: Path) -> Path:
    """One run, which trained three iterations; the first ended no episode."""
    folder.mkdir()
    dump_config(RLlibConfig(rllib=PPO), folder / "config.yaml")
    plan = {"objective": "analytic", "steps": 0, "settings": {}, "overrides": {}, "command": "rllib"}
    write_lines(folder / "trials.jsonl", [{"trial": folder.name, **plan}])
    returns = (None, 20.0, 40.0)
    write_lines(folder / "rows.jsonl", (row(folder.name, "analytic", step, each) for step, each in enumerate(returns)))
    return folder


def _rows(names: list[tuple[str, str, str]]) -> Iterator[dict[str, Any]]:
    for step in range(STEPS):
        for name, trial, module in names:
            yield row(name, TRIALS[trial], step, 10.0 * step + list(TRIALS).index(trial) % 2 + (module == "right"))
