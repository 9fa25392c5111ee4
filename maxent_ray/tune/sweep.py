"""Search over targets and update rules, by a grid, at random or by Optuna: files as in a comparison, no clones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from maxent_ray.config import ExperimentConfig, TuneSettings
from maxent_ray.errors import ConfigError
from maxent_ray.storage.row_listener import RowListener
from maxent_ray.storage.run_files import planned_trials
from maxent_ray.train.run_folder import acquire_folder
from maxent_ray.tune.early_stopping import StratifiedASHA, check_early_stopping, read_rungs
from maxent_ray.tune.execution import RunResult, check_policy, ensure_resources, open_folder, run_trials
from maxent_ray.tune.optuna_points import points_in, require_optuna
from maxent_ray.tune.proposals import ProposedTrials
from maxent_ray.tune.recording import Recorder
from maxent_ray.tune.saved_state import SEARCH, TRIALS
from maxent_ray.tune.score import check_score
from maxent_ray.tune.search_space import SearchSpace, build_search_space
from maxent_ray.tune.trainable import PopulationTrial
from maxent_ray.tune.trial_spec import RunSize, TrialSpec, references, variants

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
    """Train every objective at every point (``tune.search``: grid; random or optuna with ``tune.samples`` points).

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
        ConfigError: as :func:`~maxent_ray.tune.comparison.run_comparison`; nothing is searched over; no trial could
            be stopped early, as was asked for; or Optuna is not installed.
        ResourceError: one trial does not fit into the cluster.
        PolicyLoadError: the model cannot be loaded, or cannot be sampled and scored rightly; nothing was started.
        ResumeError: the folder exists (without ``resume``) or cannot be resumed (with it), as when another driver
            is at work in it.
        RunInterrupted: Ctrl-C.
    """
    check_early_stopping(config)
    if config.tune.search == "optuna" or config.tune.scheduler == "asha":  # nothing else goes by it
        check_score(config)
    space = build_search_space(config)
    space = space.only(keys) if keys is not None else swept_space(config, space)
    known = known_points(config, space, points)
    trials = len(variants(config, known))  # checked before anything starts
    placed = ensure_resources(config, trials or config.tune.samples * len(config.tune.objectives))
    check_policy(placed, space, trainable)
    fixed = variants(placed, known) + (references(placed, space) if config.tune.references else [])
    folder, kinds = results / name, (TRIALS,) if config.tune.search == "optuna" else (TRIALS, SEARCH)
    with acquire_folder(folder, resume=resume):
        has_state = open_folder(folder, config, resume=resume, kinds=kinds)
        recorder = Recorder(folder, listeners, command="sweep")
        proposed = _proposed(placed, space, fixed, folder, recorder) if config.tune.search == "optuna" else None
        return run_trials(
            fixed if proposed is None else proposed.planned,
            folder,
            config=config,
            scheduler=_scheduler(config, folder, recorder),
            recorder=recorder,
            resume=has_state,
            trainable=trainable,
            proposed=proposed,
        )


def _proposed(
    config: ExperimentConfig, space: SearchSpace, references: Sequence[TrialSpec], folder: Path, recorder: Recorder
) -> ProposedTrials:
    recorded = planned_trials(folder)
    return ProposedTrials(config, space, references, recorded=recorded, on_plan=recorder.on_plan)


def _scheduler(config: ExperimentConfig, folder: Path, recorder: Recorder) -> TrialScheduler:
    if config.tune.scheduler == "fifo":
        return FIFOScheduler()
    return StratifiedASHA(config, rungs=read_rungs(folder), on_rung=recorder.on_rung)


def sweep_size(config: ExperimentConfig, points: int = 3) -> RunSize:
    """Count the trials of a sweep, each of which is checked if it is known beforehand.

    Raises:
        ConfigError: as :func:`run_sweep`.
    """
    check_early_stopping(config)
    space = swept_space(config, build_search_space(config))
    known = known_points(config, space, points)
    count = points_in(space, config.tune.samples) if config.tune.search == "optuna" else len(known)
    own = count * len(config.tune.objectives)
    variants(config, known)
    others = references(config, space) if config.tune.references else []
    return RunSize(own + len(others), own * config.train.steps + sum(spec.steps for spec in others))


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


def known_points(config: ExperimentConfig, space: SearchSpace, points: int) -> list[dict[str, object]]:
    """List the points of a sweep that are known beforehand; random ones are drawn from ``train.seed``.

    Raises:
        ConfigError: the space is empty, or Optuna, which would propose them, is not installed.
    """
    if not space.keys:
        raise ConfigError(f"nothing to sweep over: tune.search_space has none of {', '.join(SWEPT_KEYS)}")
    match config.tune.search:
        case "grid":
            return space.grid(points)
        case "random":
            seeds = ((config.train.seed, index) for index in range(config.tune.samples))
            return [space.draw(np.random.default_rng(seed)) for seed in seeds]
        case "optuna":
            require_optuna()
            return []
