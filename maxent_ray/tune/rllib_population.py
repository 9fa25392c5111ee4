"""Population-based training over an algorithm of RLlib, with objectives as strata, and references beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import ray
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError
from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from maxent_ray.config import RLlibConfig, RLlibTrainSettings, RLlibTuneSettings
from maxent_ray.config.messages import refusals
from maxent_ray.errors import ConfigError, ResourceError
from maxent_ray.report.labels import REFERENCES
from maxent_ray.rllib.algorithm_record import algorithm_settings
from maxent_ray.rllib.recording import COMMAND
from maxent_ray.rllib.settings import KEY
from maxent_ray.storage.row_listener import RowListener
from maxent_ray.tune.execution import RunResult, run_population
from maxent_ray.tune.rllib_member import RLLIB_REFERENCE_SETTINGS, RLlibMember
from maxent_ray.tune.rllib_space import rllib_search_space, setting_of
from maxent_ray.tune.rllib_trial import RLlibTrial
from maxent_ray.tune.search_space import SearchSpace


def compare_rllib(
    algorithm: AlgorithmConfig,
    *,
    name: str,
    results: Path,
    search_space: Mapping[str, Any],
    steps: int,
    control: Mapping[str, Any] | None = None,
    objectives: Sequence[str] = ("analytic",),
    seed: int = 0,
    resume: bool = False,
    listeners: Sequence[RowListener] = (),
    **population: Any,
) -> RunResult:
    """Train a population of an algorithm for each objective, and the references, on equal numbers of iterations.

    Every trial is the same algorithm with own values of the searched settings. Inside an objective the trials with the
    lowest episode return continue as clones of the highest, with perturbed values. References, which are never cloned,
    are RLlib's own rule and schedules (``rllib``) and fixed coefficients (``fixed``).

    Args:
        algorithm: Without a controller; every trial gets its own.
        name: The folder under ``results``.
        results: Where result folders are.
        search_space: Dotted key → domain: ``controller.…`` for arguments of :func:`maxent_ray.rllib.control`, as
            ``controller.target_kl``, and ``rllib.…`` for RLlib's settings, as ``rllib.lr``.
        steps: Training iterations of each trial.
        control: Arguments of ``control`` that all trials share.
        objectives: One stratum for each: ``analytic``, ``truncated_backprop`` (PPO).
        seed: Of initial values, perturbations and (unless ``algorithm`` has one) the trials.
        resume: Resume an interrupted run; finished trials are not run again.
        listeners: Follow the run as it happens.
        **population: Further fields of :class:`~maxent_ray.config.RLlibTuneSettings`, as ``perturbation_interval``.

    Raises:
        ConfigError: the search space, an objective or a combination of settings is invalid; nothing was started.
        ResourceError: one trial does not fit into the cluster.
        ResumeError: the folder exists (without ``resume``) or cannot be resumed (with it).
        RunInterrupted: Ctrl-C; the message says how to resume.

    Example:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> compare_rllib(  # doctest: +SKIP
        ...     PPOConfig().environment("CartPole-v1"),
        ...     name="cartpole",
        ...     results=Path("results"),
        ...     control={"target_kl": 0.01},
        ...     search_space={"rllib.lr": {"type": "loguniform", "low": 1e-4, "high": 3e-3}},
        ...     steps=40,
        ...     perturbation_interval=10,
        ... )

    Source: Jaderberg et al. 2017, "Population Based Training of Neural Networks".
    """
    given = {"objectives": tuple(objectives), "search_space": dict(search_space), **population}
    base, config = _checked(algorithm, given, steps=steps, control=control or {}, seed=seed)
    first = RLlibMember("population", config.tune.objectives[0], config.model_dump_json(), base=base)
    space = rllib_search_space(first)
    specs = rllib_trials(first, space)
    return run_population(
        specs,
        results / name,
        config=config,
        space=space,
        seed=seed,
        read=RLlibMember.reader(base),
        command=COMMAND,
        listeners=listeners,
        resume=resume,
        trainable=_trainable(base),
    )


def rllib_trials(member: RLlibMember, space: SearchSpace) -> list[RLlibMember]:
    """Make the trials of a population, and its references; the i-th of all objectives start from the same values.

    Args:
        member: Any trial, with no values of its own.
        space: Of the search.

    Raises:
        ConfigError: an objective is unknown or cannot be used with the algorithm.
    """
    settings = member.experiment
    draws = [
        space.draw(np.random.default_rng((settings.train.seed, index)))
        for index in range(settings.tune.trials_per_objective)
    ]
    own = [
        replace(member, trial=f"{objective}-{index}", objective=objective, values=values)
        for index, values in enumerate(draws)
        for objective in settings.tune.objectives
    ]
    usual = {name: setting_of(member, name) for name in space.names}
    others = [replace(member, trial=name, objective=name, values=usual) for name in RLLIB_REFERENCE_SETTINGS]
    trials = own + (others if settings.tune.references else [])
    for trial in trials:
        trial.check()
    return trials


def _checked(
    algorithm: AlgorithmConfig, population: Mapping[str, Any], *, steps: int, control: Mapping[str, Any], seed: int
) -> tuple[AlgorithmConfig, RLlibConfig]:
    """The algorithm that all trials share, and the settings of the population."""
    if KEY in algorithm.learner_config_dict:
        raise ConfigError("the algorithm has a controller; give compare_rllib() one that control() has not seen")
    base = algorithm.copy(copy_frozen=False)
    if base.seed is None:
        base.debugging(seed=seed)
    try:
        config = RLlibConfig(
            rllib=algorithm_settings(base),
            controller=dict(control),
            train=RLlibTrainSettings(steps=steps, seed=seed),
            tune=RLlibTuneSettings.model_validate(population),
        )
        config.model_dump_json()
    except ValidationError as error:
        raise ConfigError(refusals(error, {**population, "steps": steps, "seed": seed})) from None
    except PydanticSerializationError as error:
        raise ConfigError(f"an argument cannot be written to a file: {error}; give plain values") from None
    names = config.tune.objectives
    if len(set(names)) < len(names) or {*names} & {*REFERENCES}:
        raise ConfigError(
            f"objectives is {', '.join(names)}; name each objective once, and no reference: references=True adds them"
        )
    return base, config


def _trainable(base: AlgorithmConfig) -> type[tune.Trainable]:
    """The trainable with its algorithm and resources.

    Raises:
        ResourceError: one trial does not fit into the cluster.
    """
    if not ray.is_initialized():
        ray.init()
    needed = cast(type[Algorithm], base.algo_class).default_resource_request(base.to_dict())
    assert isinstance(needed, tune.PlacementGroupFactory)  # of the new API stack
    available = ray.cluster_resources()
    for resource, amount in needed.required_resources.items():
        if available.get(resource, 0.0) < amount:
            raise ResourceError(
                f"one trial needs {amount:g} {resource}s and the cluster has {available.get(resource, 0.0):g}; lower "
                "num_env_runners or num_learners of the algorithm, or use a larger cluster"
            )
    found: type[tune.Trainable] = tune.with_resources(tune.with_parameters(RLlibTrial, base=base), needed)
    return found
