"""One rank in its own process: threads, device, process group and controller client around a worker."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from maxent_ray.config import ExperimentConfig
from maxent_ray.evaluation.answers import HeldOutEvaluation
from maxent_ray.runtime.connect import connect
from maxent_ray.runtime.run_tags import RunTags
from maxent_ray.storage.checkpoint import ADVICE
from maxent_ray.train.cores import usable_cores
from maxent_ray.train.step_record import StepRecord
from maxent_ray.train.worker import Placement, TrainingWorker
from maxent_ray.train.worker_state import decode_state, encode_state

if TYPE_CHECKING:
    from maxent_ray.runtime.metrics import RankMetrics

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RankSpec:
    """Position of a rank in its run, and its connections to the others."""

    run_id: str
    rank: int
    world_size: int
    use_gpu: bool
    init_method: str | None = None
    """Rendezvous of ``torch.distributed``, such as ``tcp://host:port``; None when the process group exists already
    or there is a single rank."""
    gpu: int = 0
    """Index of its GPU among those that this process sees."""
    controller: Any = None
    """The controller's actor, where it serves several runs in turn."""
    local: bool = False
    """Decide in this process, without Ray."""
    tags: RunTags | None = None
    """Of the run's metrics; None for its ``run_id`` as run and trial."""
    threads: int | None = None
    """Of its computations on CPUs; None: as many as this process has."""


class RankProcess:
    """Hosts a :class:`TrainingWorker`; Ray actors and plain processes use it alike."""

    def __init__(self) -> None:
        self._worker: TrainingWorker | None = None
        self._metrics: RankMetrics | None = None
        self._owns_group = False

    def setup(self, config: ExperimentConfig, spec: RankSpec) -> None:
        """Create worker, process group and client from a config, after closing those of an earlier run."""
        self.close()
        _log_to_stderr()
        device = torch.device("cuda", spec.gpu) if spec.use_gpu else torch.device("cpu")
        if spec.use_gpu:
            torch.cuda.set_device(device)
        else:
            cores = usable_cores()
            torch.set_num_threads(min(spec.threads or torch.get_num_threads(), cores))
            if not spec.local:
                _logger.info("%d of %d cores compute (train.threads_per_worker)", torch.get_num_threads(), cores)
        if spec.init_method is not None:
            backend = "nccl" if spec.use_gpu else "gloo"
            dist.init_process_group(
                backend, init_method=spec.init_method, rank=spec.rank, world_size=spec.world_size
            )
            self._owns_group = True
        client = connect(
            spec.run_id,
            spec.rank,
            spec.world_size,
            config.controller_config(),
            options=config.runtime,
            local=spec.local,
            actor=spec.controller,
            tags=spec.tags,
        )
        self._worker = TrainingWorker(config, client, Placement(spec.rank, spec.world_size, device))
        if not spec.local:
            from maxent_ray.runtime.metrics import RankMetrics  # loads Ray

            self._metrics = RankMetrics(client.tags, spec.rank)

    @property
    def worker(self) -> TrainingWorker:
        """The worker of the current run."""
        if self._worker is None:
            raise RuntimeError("setup() was not called, or close() was")
        return self._worker

    def run(self, steps: int) -> list[StepRecord]:
        """Do some policy steps, and export their signals."""
        records = []
        for _ in range(steps):
            record = self.worker.step()
            if self._metrics is not None:
                self._metrics.publish(record.signals)
                record = replace(record, signals={**record.signals, "failed_exports": self._metrics.failures})
            records.append(record)
        return records

    def evaluate(self) -> HeldOutEvaluation:
        """Held-out metrics and answers of the current parameters; on all ranks that join."""
        return self.worker.evaluate()

    def state_bytes(self) -> bytes:
        """The worker's state as one block; on all ranks that join, of which rank 0's is complete."""
        return encode_state(self.worker.state_dict())

    def load_state_bytes(self, state: bytes, where: str = "the worker's state", advice: str = ADVICE) -> None:
        """Resume from :meth:`state_bytes`.

        Args:
            state: The block.
            where: Names the block in errors.
            advice: Ends errors about a block that cannot be read.

        Raises:
            ResumeError: the block is damaged, of a newer schema, or of other prompts; nothing was loaded.
        """
        self.worker.load_state_dict(decode_state(state, where, advice))

    def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """Controller decisions above a version, the last report's included; all ranks call it."""
        self.worker.client.wait_for_decision()
        return self.worker.client.decisions(since_version)

    def close(self) -> None:
        """Close the client and the process group, and end the run's metrics."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if self._worker is not None:
            self._worker.client.close()
            self._worker = None
        if self._owns_group:
            dist.destroy_process_group()
            self._owns_group = False


def _log_to_stderr() -> None:
    """Send the package's log, such as the hypergradient mode chosen, to this process's standard error."""
    logger = logging.getLogger("maxent_ray")
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
