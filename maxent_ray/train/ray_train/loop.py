"""One long run on Ray Train, with checkpoints, restarts and resume."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray.train
from ray.train.torch import TorchTrainer

from maxent_ray.config import ExperimentConfig
from maxent_ray.errors import MaxentRayError, RankLostError
from maxent_ray.runtime.connect import LONGEST_RUN_ID
from maxent_ray.runtime.remote_errors import Cause, cause_of
from maxent_ray.storage.records import Records
from maxent_ray.storage.row_listener import Listeners, RowListener
from maxent_ray.storage.run_files import CHECKPOINTS, POLICY, ROWS, TRACE, recorded_trial, truncate_partial_lines
from maxent_ray.telemetry import Telemetry
from maxent_ray.train.model_check import check_model
from maxent_ray.train.ray_train.checkpoints import prepare_checkpoints, remove_leftovers
from maxent_ray.train.ray_train.rank_loop import train_rank
from maxent_ray.train.ray_train.recording import Follower, RecordReports
from maxent_ray.train.ray_train.train_job import TrainJob
from maxent_ray.train.resources import check_resources, rank_threads, uses_gpus
from maxent_ray.train.run_failure import run_error
from maxent_ray.train.run_folder import RunInterrupted, acquire_folder, open_run_folder

CHECKPOINTS_TO_KEEP = 2
_POLL_INTERVAL = ("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
"""Seconds between Ray Train's polls of its workers; a report waits for the next one, by default 2 s."""


@dataclass(frozen=True)
class TrainingResult:
    """Results folder of a run."""

    folder: Path
    name: str
    """In the records; that of the folder when the run was new."""

    @property
    def policy(self) -> Path:
        """The trained policy, a Hugging Face folder."""
        return self.folder / POLICY


def run_training(
    config: ExperimentConfig,
    *,
    name: str,
    results: Path,
    resume: bool = False,
    listeners: Sequence[RowListener] = (),
) -> TrainingResult:
    """Train one policy for ``train.steps`` steps; Ray must be running.

    ``results/<name>`` gets config.yaml, rows.jsonl (every step of every rank), decisions.jsonl, evaluations.jsonl
    and samples.jsonl (held-out metrics and answers before the first and after the last step), policy/ (the trained
    policy as a Hugging Face folder) and train/ (checkpoints).

    Args:
        config: The experiment. With ``resume`` the one in the folder's config.yaml, save for its ``train``
            section and settings of memory: a run may train for longer, with other workers, or in smaller passes.
        name: The folder under ``results``, and the run's name in its records, which it keeps where the folder is
            renamed before a resume.
        results: Parent of the results folders; with several machines, on storage that all of them share.
        resume: Resume an interrupted run from its newest checkpoint.
        listeners: Follow the run; after a resume they first get the recorded rows.

    Raises:
        ResourceError: the run does not fit into the cluster; nothing was started.
        PolicyLoadError: the model cannot be loaded, or cannot be sampled and scored rightly; nothing was started.
        ConfigError: ``grpo.max_new_tokens`` is more than the model's positions leave; nothing was started.
        ResumeError: the folder exists (without ``resume``) or its run cannot be resumed (with it), as when its newest
            checkpoint is damaged or another driver uses it.
        RunInterrupted: Ctrl-C.
        RecordingError: the folder was moved, renamed or removed during the run.
        MaxentRayError: training failed more often than ``train.max_failures`` allows; the error has its cause's class.
    """
    check_resources(config.train)
    check_model(config)
    followers = Listeners(listeners)
    folder = (results / name).resolve()
    with acquire_folder(folder, resume=resume):
        open_run_folder(folder, config, resume=resume)
        truncate_partial_lines(folder)
        trial = recorded_trial(folder) or name
        if resume:
            remove_leftovers(folder)
            prepare_checkpoints(folder)
        records = Records(folder)
        try:
            train = config.train
            job = TrainJob(config, _new_run_id(trial), trial, folder, uses_gpus(train), rank_threads(train))
            _run(job, followers)
        except MaxentRayError:
            records.check_in_place()  # the reason of any other error, if it has been moved
            raise
        except (KeyboardInterrupt, SystemExit):  # Ray Train answers Ctrl-C with an exit
            raise RunInterrupted(f"interrupted. Continue with --resume {results / name}") from None
    followers.state(trial, "done")
    return TrainingResult(folder, trial)


def _new_run_id(trial: str) -> str:
    """A name for the run's controller that is never used twice: one of an earlier session may still be alive."""
    unique = f"-{uuid.uuid4().hex[:12]}"
    return trial[: LONGEST_RUN_ID - len(unique)] + unique


def _run(job: TrainJob, listener: RowListener) -> None:
    """Train, while a listener follows."""
    with Follower(job.folder / ROWS, listener), _train_environment():
        _fit(job)


def _fit(job: TrainJob) -> None:
    """Run Ray Train to the end of the job; its errors become ours."""
    (job.folder / TRACE).unlink(missing_ok=True)
    try:
        _trainer(job).fit()
    except ray.train.WorkerGroupError as error:
        rank, failure = _first_failure(error.worker_failures)
        restarts = job.config.train.max_failures
        used = f", after train.max_failures = {restarts} restarts" if restarts > 0 else ""
        raise _failed(job, error, cause_of(failure), f"rank {rank}{used}") from error
    except ray.train.ControllerError as error:
        raise _failed(job, error, cause_of(error.controller_failure), "Ray Train's controller") from error


def _failed(job: TrainJob, error: Exception, cause: Cause, where: str) -> MaxentRayError:
    """Error of a run; the trace of what is not explained by a message of ours goes into a file."""
    if cause.resumable:
        with Telemetry(f"{job.folder / TRACE} cannot be written").attempt():
            (job.folder / TRACE).write_text(f"{error}\n", encoding="utf-8")
            where = f"{where}; its trace is in {job.folder / TRACE}"
    return run_error(cause, where, job.folder)


def _trainer(job: TrainJob) -> TorchTrainer:
    train = job.config.train
    resources = {"CPU": train.cpus_per_worker, **({"GPU": train.gpus_per_worker} if job.use_gpu else {})}
    return TorchTrainer(
        train_rank,
        train_loop_config={"job": job},
        scaling_config=ray.train.ScalingConfig(
            num_workers=train.num_workers, use_gpu=job.use_gpu, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=CHECKPOINTS,  # a run of this name in this folder resumes from its newest checkpoint
            storage_path=str(job.folder),
            failure_config=ray.train.FailureConfig(max_failures=train.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=CHECKPOINTS_TO_KEEP),
            callbacks=[RecordReports(job.folder, job.name)],  # type: ignore[list-item]  # Ray declares Tune's callbacks
        ),
    )


def _first_failure(failures: Mapping[int, Exception]) -> tuple[int, Exception]:
    """Rank and error that explain the failure: other ranks only report that they lost that one."""
    return min(failures.items(), key=lambda item: (cause_of(item[1]).kind is RankLostError, item[0]))


@contextmanager
def _train_environment() -> Iterator[None]:
    """Set Ray Train's environment, and restore it and the handler of Ctrl-C, which Ray Train replaces."""
    name, value = _POLL_INTERVAL
    before, handler = os.environ.get(name), signal.getsignal(signal.SIGINT)
    os.environ[name] = value
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
