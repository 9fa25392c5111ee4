"""Execution of trials on Ray Tune: resources are checked first, all is recorded, interruptions can be resumed."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm
from ray.tune.tune_config import ResumeConfig

from maxent_ray.config import ExperimentConfig, RecordedConfig, dump_config, load_recorded
from maxent_ray.config.loading import apply_overrides
from maxent_ray.errors import ResumeError
from maxent_ray.runtime.remote_errors import Cause, cause_in, cause_of
from maxent_ray.storage.row_listener import RowListener
from maxent_ray.storage.run_files import CONFIG, ROWS, TRACE, TUNE_FOLDER, read_rows
from maxent_ray.train.ray_train.checkpoints import remove_leftovers
from maxent_ray.train.resources import check_resources, rank_threads, uses_gpus
from maxent_ray.train.run_failure import advise_on_resume, run_error
from maxent_ray.train.run_folder import RunInterrupted, acquire_folder
from maxent_ray.tune.early_stopping import read_rungs
from maxent_ray.tune.environment import tune_environment
from maxent_ray.tune.member import Member, ReadMember
from maxent_ray.tune.proposals import ProposalGenerator, ProposedTrials
from maxent_ray.tune.recording import Recorder
from maxent_ray.tune.relocation import relocate_state, saved_trials, stage_apart
from maxent_ray.tune.saved_state import SEARCH, TRIALS, KeepState, Kinds, restore_state
from maxent_ray.tune.schedulers import StratifiedPBT
from maxent_ray.tune.search_space import SearchSpace
from maxent_ray.tune.trainable import PopulationTrial


@dataclass(frozen=True)
class RunResult:
    """Outcome of a run."""

    folder: Path
    finished: tuple[str, ...]
    """Trials that trained to their end and were evaluated."""
    failed: Mapping[str, str]
    """Trial → its error's cause, and the file with its trace."""
    stopped: tuple[str, ...] = ()
    """Trials that were stopped early."""


def ensure_resources(config: ExperimentConfig, trials: int) -> ExperimentConfig:
    """Check that one trial fits into the cluster; decide ``train.use_gpu`` and ``train.threads_per_worker``.

    Args:
        config: The experiment.
        trials: All that are to train.

    Raises:
        ResourceError: the cluster has fewer CPUs or GPUs than one trial needs; the message has both numbers.
    """
    if not ray.is_initialized():
        ray.init()
    check_resources(config.train)
    threads = rank_threads(config.train, trials)
    return apply_overrides(config, {"train.use_gpu": uses_gpus(config.train), "train.threads_per_worker": threads})


def check_policy(config: ExperimentConfig, space: SearchSpace, trainable: type[PopulationTrial]) -> None:
    """Check the policy of all trials, with the longest completions that one of them may sample.

    Raises:
        MaxentRayError: as :func:`~maxent_ray.train.model_check.check_model`.
    """
    length = "grpo.max_new_tokens"  # of what a trial loads, nothing else can be searched over
    searched = [value for key in space.keys if key.name == length for value in key.grid(2)]
    trainable.check(apply_overrides(config, {length: max([config.grpo.max_new_tokens, *searched])}))


def open_folder(folder: Path, config: RecordedConfig, *, resume: bool, kinds: Kinds = (TRIALS, SEARCH)) -> bool:
    """Write the ``config.yaml`` of a new run, or check that a run can be resumed from a state of these ``kinds``.

    Returns:
        Whether there is a run to resume; one that was interrupted before anything was recorded starts again.

    Raises:
        ResumeError: it was made with another configuration, or it has rows and no whole state of Tune.
    """
    if not resume:
        dump_config(config, folder / CONFIG)
        return False
    if load_recorded(folder / CONFIG) != config:
        raise ResumeError(f"cannot resume {folder} with another configuration than its {CONFIG}")
    remove_leftovers(folder)
    recorded = bool(read_rows(folder / ROWS))
    return restore_state(folder / TUNE_FOLDER, recorded=recorded, kinds=kinds)


def run_population(
    specs: Sequence[Member],
    folder: Path,
    *,
    config: RecordedConfig,
    space: SearchSpace,
    seed: int,
    read: ReadMember,
    command: str,
    listeners: Sequence[RowListener],
    resume: bool,
    trainable: type[tune.Trainable],
) -> RunResult:
    """Run population-based training with an objective's trials as a stratum, in a new folder or one to resume.

    Args:
        specs: All trials, references among them.
        folder: ``results/<name>``; nobody else works in it while this runs.
        config: The experiment, written to the folder.
        space: What is perturbed.
        seed: Of perturbations.
        read: Reads what a trial is from its ``trial.config``.
        command: What the folder is of, as its rows say.
        listeners: Follow the run as it happens.
        resume: Continue the run of the folder.
        trainable: Hosts a trial.

    Raises:
        ResumeError: the folder exists (without ``resume``) or cannot be resumed (with it).
        MaxentRayError: as :func:`run_trials`.
    """
    with acquire_folder(folder, resume=resume):
        has_state = open_folder(folder, config, resume=resume)
        recorder = Recorder(folder, listeners, command=command, read=read)
        return run_trials(
            specs,
            folder,
            config=config,
            scheduler=StratifiedPBT(config.tune, space, seed=seed, on_exploit=recorder.on_exploit, read=read),
            recorder=recorder,
            resume=has_state,
            trainable=trainable,
        )


def run_trials(
    specs: Sequence[Member],
    folder: Path,
    *,
    config: RecordedConfig,
    scheduler: TrialScheduler,
    recorder: Recorder,
    resume: bool,
    trainable: type[tune.Trainable],
    proposed: ProposedTrials | None = None,
) -> RunResult:
    """Run trials to their end; those that do not fit into the cluster wait.

    Args:
        specs: The trials that are known beforehand, all of them unless others are ``proposed``.
        folder: ``results/<name>``.
        config: The experiment.
        scheduler: Of Ray Tune.
        recorder: Of the folder.
        resume: Continue from Tune's state in the folder.
        trainable: Hosts a trial.
        proposed: Trials that are proposed while others train, instead of ``specs``, which are those so far.

    Raises:
        RunInterrupted: Ctrl-C.
        RecordingError: results could not be written, as when the folder was moved during the run.
        MaxentRayError: every trial failed; the message is the first one's cause, and of its class.
    """
    state = folder / TUNE_FOLDER
    recorder.on_plan(specs)
    if resume:
        by_name = {name: spec for spec in specs for name in spec.names}
        recorder.replay(read_rows(folder / ROWS), by_name, read_rungs(folder))
    configs = [spec.to_config() for spec in specs]
    if proposed is None:
        experiment = _experiment(_param_space(configs), len(configs), folder, config, trainable)
        search: SearchAlgorithm = BasicVariantGenerator(points_to_evaluate=configs)
    else:
        experiment = _experiment({}, proposed.size, folder, config, trainable)
        search = ProposalGenerator(proposed)
    if resume:
        relocate_state(state, experiment.storage)
        if proposed is not None:
            proposed.resume(saved_trials(state))
            search.add_configurations([experiment])  # Tune leaves this to a state of the search, which has none
    with tune_environment(), _recording(recorder, folder):
        analysis = tune.run(
            experiment,  # type: ignore[arg-type]  # taken, though not declared
            search_alg=search,
            scheduler=scheduler,
            callbacks=[recorder, KeepState(state, (TRIALS, SEARCH) if proposed is None else (TRIALS,))],
            reuse_actors=True,
            raise_on_failed_trial=False,
            resume_config=_RESUME if resume else None,
            verbose=0,
        )
    return _result(folder, analysis.trials, recorder.stopped, len(configs) if proposed is None else proposed.size)


@contextmanager
def _recording(recorder: Recorder, folder: Path) -> Iterator[None]:
    """Raise what Tune raises as an error of ours: of the recording, if that is what failed."""
    try:
        yield
    except tune.TuneError as error:
        if recorder.failure is None:
            raise run_error(cause_of(error), "Ray Tune", folder) from error
        with advise_on_resume(folder):
            raise recorder.failure from None


_RESUME = ResumeConfig(errored=ResumeConfig.ResumeType.RESUME)  # type: ignore[arg-type]  # declared str by Ray
"""Finished trials are skipped, all others resume from their checkpoints."""


def _experiment(
    param_space: Mapping[str, Any],
    trials: int,
    folder: Path,
    config: RecordedConfig,
    trainable: type[tune.Trainable],
) -> Experiment:
    """The trials as Tune gets them, stored in the run's folder."""
    experiment = Experiment(
        TUNE_FOLDER,
        trainable,
        config=dict(param_space),
        num_samples=trials,
        storage_path=str(folder.resolve()),
        checkpoint_config=tune.CheckpointConfig(num_to_keep=_checkpoints_to_keep(config), checkpoint_frequency=1),
        max_failures=config.train.max_failures,
        trial_name_creator=_trial_name,
        trial_dirname_creator=_trial_name,
    )
    stage_apart(experiment)
    return experiment


def _checkpoints_to_keep(config: RecordedConfig) -> int:
    """Number of checkpoints that lets a donor train a whole interval before its recipient loads its checkpoint."""
    reports = -(-config.tune.perturbation_interval // config.tune.steps_per_report)
    intervals = 1 if config.tune.synchronous else 2
    return max(4, intervals * reports + 2)


def _param_space(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """List every key with all its values, of which ``points_to_evaluate`` picks each trial's.

    Functions (``tune.sample_from``) do not work: when Tune restores a trial, it takes the configuration from them
    again, which undoes all perturbations.
    """
    return {key: tune.choice(list(dict.fromkeys(c[key] for c in configs))) for key in configs[0]}


def _trial_name(trial: Trial) -> str:
    return str(trial.config["trial"])


def _result(folder: Path, trials: Sequence[Trial], early: Container[str], planned: int) -> RunResult:
    causes = {_trial_name(trial): _cause(trial) for trial in trials if trial.status == Trial.ERROR}
    done = [_trial_name(trial) for trial in trials if trial.status != Trial.ERROR and _is_done(trial)]
    finished = tuple(name for name in done if name not in early)
    stopped = tuple(name for name in done if name in early)
    if len(done) + len(causes) < planned:
        also = f", {len(stopped)} were stopped early" if stopped else ""
        raise RunInterrupted(
            f"interrupted: {len(finished)} of {planned} trials are finished{also}, the others are saved. "
            f"Continue with --resume {folder}"
        )
    traces = {name: f"its trace is in {folder / TUNE_FOLDER / name / TRACE}" for name in causes}
    if causes and not finished:
        name, cause = next(iter(causes.items()))
        raise run_error(cause, f"{name}, as every trial failed; {traces[name]}", folder)
    failed = {name: f"{cause.message} ({traces[name]})" for name, cause in causes.items()}
    return RunResult(folder, finished, failed, stopped)


def _is_done(trial: Trial) -> bool:
    return bool(trial.last_result and trial.last_result.get("done"))


_FAILURE = re.compile(r"^Failure # \d+ \(occurred at .*\)\n", re.MULTILINE)
"""Heading of each failure of a trial in its file of traces."""


def _cause(trial: Trial) -> Cause:
    """Cause in the trace of the trial's last failure, which is all that Tune keeps of it."""
    return cause_in(_FAILURE.split(str(trial.get_error()))[-1])
