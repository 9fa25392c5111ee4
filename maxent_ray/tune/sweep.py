"""Grid or random search over targets and update rules: trials and files as in a comparison, without clones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ray.tune.schedulers import FIFOScheduler

from maxent_ray.config import ExperimentConfig, TuneSettings
from maxent_ray.errors import ConfigError
from maxent_ray.storage.row_listener import RowListener
from maxent_ray.train.run_folder import acquire_folder
from maxent_ray.tune.execution import RunResult, check_policy, ensure_resources, open_folder, run_trials
from maxent_ray.tune.recording import Recorder
from maxent_ray.tune.search_space import SearchSpace, build_search_space
from maxent_ray.tune.trainable import PopulationTrial
from maxent_ray.tune.trial_spec import references, variants

SWEPT_KEYS = (
    "controller.target_kl",
    "controller.target_entropy",
    "controller.target_entropy_fraction",
    "controller.tau_rule",
    "controller.beta_rule",
)
"""Targets and update rules, those of them that ``tune.search_space`` has."""


def run_sweep(
    config: ExperimentConfig,
    *,
    name: str,
    results: Path,
    keys: Sequence[str] | None = None,
    points: int = 3,
    resume: bool = False,
    listeners: Sequence[RowListener] = (),
    trainable: type[PopulationTrial] = PopulationTrial,
) -> RunResult:
    """Train every objective at every point (``tune.search``: grid, or random with ``tune.samples`` points).

    Args:
        config: The experiment.
        name: The folder under ``results``.
        results: Where result folders are.
        keys: Keys of ``tune.search_space`` to search over; None for all, which must be targets and update rules (of
            the default search space, those among them).
        points: Values of each interval in a grid.
        resume: Resume an interrupted sweep.
        listeners: Follow the run as it happens.
        trainable: Hosts a trial.

    Raises:
        ConfigError: as :func:`~maxent_ray.tune.comparison.run_comparison`; or nothing is searched over.
        ResourceError: one trial does not fit into the cluster.
        PolicyLoadError: the model cannot be loaded, or cannot be sampled and scored rightly; nothing was started.
        ResumeError: the folder exists (without ``resume``) or cannot be resumed (with it), as when another driver
            is at work in it.
        RunInterrupted: Ctrl-C.
    """
    space = build_search_space(config)
    space = space.only(keys) if keys is not None else swept_space(config, space)
    search_points = sweep_points(config, space, points)
    variants(config, search_points)  # checked before anything starts
    placed = ensure_resources(config)
    check_policy(placed, space, trainable)
    specs = variants(placed, search_points) + (references(placed, space) if config.tune.references else [])
    folder = results / name
    with acquire_folder(folder, resume=resume):
        has_state = open_folder(folder, config, resume=resume)
        return run_trials(
            specs,
            folder,
            config=config,
            scheduler=FIFOScheduler(),
            recorder=Recorder(folder, listeners),
            resume=has_state,
            trainable=trainable,
        )


def swept_space(config: ExperimentConfig, space: SearchSpace) -> SearchSpace:
    """Select targets and update rules of a search space; one that is not the default may have nothing else.

    Raises:
        ConfigError: a key that the configuration asks for would be left out.
    """
    left_out = [key for key in space.names if key not in SWEPT_KEYS]
    if left_out and config.tune.search_space != TuneSettings().search_space:
        raise ConfigError(
            f"tune.search_space has {', '.join(left_out)}; a sweep searches over {', '.join(SWEPT_KEYS)}: leave the "
            "others out, or search over them with compare"
        )
    return space.only([key for key in SWEPT_KEYS if key in space.names])


def sweep_points(config: ExperimentConfig, space: SearchSpace, points: int) -> list[dict[str, object]]:
    """List the points of a sweep; random ones are drawn from ``train.seed``.

    Raises:
        ConfigError: the space is empty.
    """
    if not space.keys:
        raise ConfigError(f"nothing to sweep over: tune.search_space has none of {', '.join(SWEPT_KEYS)}")
    if config.tune.search == "grid":
        return space.grid(points)
    seeds = ((config.train.seed, index) for index in range(config.tune.samples))
    return [space.draw(np.random.default_rng(seed)) for seed in seeds]
