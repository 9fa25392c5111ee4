"""Comparison of objectives by population-based training, with reference runs beside it: the main job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maxent_ray.config import ExperimentConfig
from maxent_ray.errors import ConfigError
from maxent_ray.storage.row_listener import RowListener
from maxent_ray.tune.execution import RunResult, check_policy, ensure_resources, run_population
from maxent_ray.tune.score import check_score
from maxent_ray.tune.search_space import build_search_space
from maxent_ray.tune.trainable import PopulationTrial
from maxent_ray.tune.trial_spec import TrialSpec, population, references

ComparisonResult = RunResult


def run_comparison(
    config: ExperimentConfig,
    *,
    name: str,
    results: Path,
    resume: bool = False,
    listeners: Sequence[RowListener] = (),
    trainable: type[PopulationTrial] = PopulationTrial,
) -> ComparisonResult:
    """Train ``tune.trials_per_objective`` trials of every objective, and the references, on equal budgets.

    The references (warm start, plain GRPO with β = 0, fixed τ and β) are trials of the same run: they have
    the same steps, prompts and seed, fill the machine while a population waits for its last trial, and are
    never cloned.

    Args:
        config: The experiment. With ``resume``, the one in the folder's ``config.yaml``.
        name: The folder under ``results``.
        results: Where result folders are.
        resume: Resume an interrupted run; finished trials are not run again.
        listeners: Follow the run as it happens; after a resume they are first told what there was.
        trainable: Hosts a trial.

    Raises:
        ConfigError: the search space, an objective or a combination of settings is invalid, or the score is not known.
        ResourceError: one trial does not fit into the cluster.
        PolicyLoadError: the model cannot be loaded, or cannot be sampled and scored rightly; nothing was started.
        ResumeError: the folder exists (without ``resume``) or cannot be resumed (with it), as when another driver
            is at work in it.
        RunInterrupted: Ctrl-C; the message says how to resume.
    """
    check_scheduler(config)
    check_score(config)
    space = build_search_space(config)
    trials = len(population(config, space))  # every trial's settings are checked before anything starts
    placed = ensure_resources(config, trials)
    check_policy(placed, space, trainable)
    specs = population(placed, space) + (references(placed, space) if config.tune.references else [])
    return run_population(
        specs,
        results / name,
        config=config,
        space=space,
        seed=config.train.seed,
        read=TrialSpec.from_config,
        command="compare",
        listeners=listeners,
        resume=resume,
        trainable=trainable,
    )


def check_scheduler(config: ExperimentConfig) -> None:
    """Check that no early stopping is asked for.

    Raises:
        ConfigError: it is.
    """
    if config.tune.scheduler != "fifo":
        raise ConfigError(
            f"tune.scheduler is {config.tune.scheduler!r}; a comparison has its own scheduler, population-based "
            "training, which continues low trials as clones of high ones instead of stopping them: use it with sweep"
        )
