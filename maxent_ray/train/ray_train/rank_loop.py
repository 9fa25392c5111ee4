"""Training loop of one rank on Ray Train: train, report, save, and evaluate before and after."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch

from maxent_ray.policy import save_policy
from maxent_ray.report.labels import WARM_START
from maxent_ray.runtime.run_tags import RunTags
from maxent_ray.storage.run_files import POLICY, evaluation_record, sample_records
from maxent_ray.storage.write_errors import writing
from maxent_ray.train.rank import RankProcess, RankSpec
from maxent_ray.train.ray_train.checkpoints import STATE, read_checkpoint, recovery_advice, write_checkpoint
from maxent_ray.train.ray_train.train_job import TrainJob
from maxent_ray.train.worker import TrainingWorker, objective_name

_log = logging.getLogger(__name__)
STEPS_PER_REPORT = 5
"""Most steps between two reports; a crash loses the rows of no more than these."""
_UPLOAD = ray.train.CheckpointUploadMode.NO_UPLOAD
"""A checkpoint is at its final place when it is reported."""


def train_rank(settings: dict[str, TrainJob]) -> None:
    """Ray Train's training function; ``settings`` is ``{"job": TrainJob}``."""
    job, context = settings["job"], ray.train.get_context()
    process = RankProcess()
    # Ray Train shows a rank all GPUs of its machine, and gives the index of its own.
    gpu = ray.train.torch.get_device().index or 0 if job.use_gpu else 0
    tags = RunTags(job.folder.name, job.name, objective_name(job.config))
    place = context.get_world_rank(), context.get_world_size()
    process.setup(job.config, RankSpec(job.run_id, *place, job.use_gpu, gpu=gpu, tags=tags, threads=job.threads))
    try:
        _restore(process)
        _train(process, job)
    finally:
        process.close()


def report_steps(start: int, steps: int, checkpoint_every: int) -> Iterator[int]:
    """Steps after which ranks report: every few, at every checkpoint, and at the end.

    Example:
        >>> list(report_steps(0, 14, 8))
        [5, 8, 10, 14]
        >>> list(report_steps(8, 14, 2))
        [10, 12, 14]
    """
    interval = min(STEPS_PER_REPORT, checkpoint_every)
    for step in range(start + 1, steps + 1):
        if step % interval == 0 or step % checkpoint_every == 0 or step == steps:
            yield step


def _restore(process: RankProcess) -> None:
    """Load the newest checkpoint of this run, if there is one; each rank for itself."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return
    with checkpoint.as_directory() as path:
        folder = Path(path)
        process.load_state_bytes(read_checkpoint(folder), str(folder / STATE), recovery_advice(folder))


def _train(process: RankProcess, job: TrainJob) -> None:
    """Train to the last step. Every rank reports equally often, as a report is a barrier."""
    train, worker, version = job.config.train, process.worker, 0
    leads = worker.placement.rank == 0
    if worker.next_step == 0:
        ray.train.report(_evaluation(process, WARM_START, WARM_START))
    for step in report_steps(worker.next_step, train.steps, train.checkpoint_every):
        rows = process.run(step - worker.next_step)
        saves = step % train.checkpoint_every == 0 or step == train.steps
        decisions = process.decisions(version)  # on every rank, as all of them wait for the last one
        state = process.state_bytes() if saves and worker.joins else None
        version = max([version, *(decision["version"] for decision in decisions)])
        # Rows first, then the checkpoint after them: a crash in between repeats steps and loses none.
        ray.train.report({"rows": [row.to_dict() for row in rows], "decisions": decisions if leads else []})
        if saves:
            _report_checkpoint(job.folder, step, state if leads else None)
    _finish(process, job)


def _report_checkpoint(folder: Path, step: int, state: bytes | None) -> None:
    if state is None:
        ray.train.report({}, checkpoint_upload_mode=_UPLOAD)
        return
    checkpoint = ray.train.Checkpoint.from_directory(write_checkpoint(folder, step, state))
    ray.train.report({}, checkpoint=checkpoint, checkpoint_upload_mode=_UPLOAD)


def _finish(process: RankProcess, job: TrainJob) -> None:
    """Save the policy, then evaluate it: the last evaluation marks a complete run."""
    if process.worker.joins:
        _save(process.worker, job.folder)
    ray.train.report(_evaluation(process, job.name, objective_name(job.config)))


def _save(worker: TrainingWorker, folder: Path) -> None:
    """Write the trained policy; of the ranks that join, rank 0 writes."""
    part, leads = folder / f"{POLICY}.part", worker.placement.rank == 0
    if leads:
        shutil.rmtree(part, ignore_errors=True)
        with writing(part, "Checkpoints are intact"):
            part.mkdir()  # not its parents: the run's folder may have been moved
    save_policy(worker.policy, part)
    if leads:
        shutil.rmtree(folder / POLICY, ignore_errors=True)
        part.rename(folder / POLICY)


def _evaluation(process: RankProcess, trial: str, objective: str) -> dict[str, Any]:
    """Report of the present policy's evaluation: rank 0's, which other ranks that join take part in."""
    worker = process.worker
    evaluation = process.evaluate() if worker.joins else None
    if evaluation is None or worker.placement.rank != 0:
        return {}
    values = evaluation.to_dict()
    _log.info("step %d: %s", worker.next_step, evaluation.one_answer())
    return {
        "evaluations": [evaluation_record(trial, objective, {}, values["metrics"])],
        "samples": sample_records(trial, objective, worker.next_step, values["samples"]),
    }
