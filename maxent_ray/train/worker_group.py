"""The ranks of one run as Ray actors, for Tune trials and reference runs."""

from __future__ import annotations

import socket
from typing import Any

import ray
from ray.util import get_node_ip_address

from maxent_ray.config import ExperimentConfig
from maxent_ray.evaluation.answers import HeldOutEvaluation
from maxent_ray.runtime.actor import create_controller
from maxent_ray.runtime.connect import NAMESPACE
from maxent_ray.runtime.run_tags import RunTags
from maxent_ray.train.rank import RankProcess, RankSpec
from maxent_ray.train.resources import rank_threads, uses_gpus
from maxent_ray.train.step_record import StepRecord


class RankActor(RankProcess):
    """A rank as an actor; also gives a free address of its node for the rendezvous."""

    def free_address(self) -> str:
        """``tcp://host:port`` with a port that was free a moment ago."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return f"tcp://{get_node_ip_address()}:{probe.getsockname()[1]}"


class WorkerGroup:
    """All ranks of one run, and the run's controller.

    Inside a Tune trial the actors take the bundles of the trial's placement group.

    Args:
        config: The experiment; ``config.train`` has the number of ranks and the resources of each.
        run_id: Names the run and its controller; unique among living runs.
        tags: Of the run's metrics; None for its ``run_id`` as run and trial.
    """

    def __init__(self, config: ExperimentConfig, run_id: str, tags: RunTags | None = None) -> None:
        train = config.train
        self._use_gpu = uses_gpus(train)
        actor: Any = ray.remote(RankActor).options(
            num_cpus=train.cpus_per_worker, num_gpus=train.gpus_per_worker if self._use_gpu else 0
        )
        self._ranks: list[Any] = [actor.remote() for _ in range(train.num_workers)]
        self._controller: Any = create_controller(run_id, NAMESPACE)[0]  # serves several runs in turn
        self._setup_ranks(config, run_id, tags)

    def reset(self, config: ExperimentConfig, run_id: str, tags: RunTags | None = None) -> None:
        """Start another run in the same processes, with new objects throughout.

        Args:
            config: The new run's experiment, with as many ranks as the old one's.
            run_id: Names the new run; another than any before.
            tags: Of its metrics.
        """
        ray.get([rank.close.remote() for rank in self._ranks])
        self._setup_ranks(config, run_id, tags)

    def _setup_ranks(self, config: ExperimentConfig, run_id: str, tags: RunTags | None) -> None:
        world_size = len(self._ranks)
        self._joining = self._ranks if config.train.fully_shard else self._ranks[:1]
        address = ray.get(self._ranks[0].free_address.remote()) if world_size > 1 else None
        specs = [
            RankSpec(
                run_id,
                rank,
                world_size,
                self._use_gpu,
                address,
                controller=self._controller,
                tags=tags,
                threads=rank_threads(config.train),
            )
            for rank in range(world_size)
        ]
        ray.get([rank.setup.remote(config, spec) for rank, spec in zip(self._ranks, specs, strict=True)])

    def run(self, steps: int) -> list[StepRecord]:
        """Make ``steps`` policy steps on all ranks; returns the rows of all ranks, ordered by step, then rank."""
        rows = [row for rank in ray.get([rank.run.remote(steps) for rank in self._ranks]) for row in rank]
        return sorted(rows, key=lambda row: (row.step, row.rank))

    def evaluate(self) -> HeldOutEvaluation:
        """Held-out metrics and answers, from rank 0."""
        evaluations: list[HeldOutEvaluation] = ray.get([rank.evaluate.remote() for rank in self._joining])
        return evaluations[0]

    def state_dict(self) -> bytes:
        """State of the run, from rank 0: parameters, moments, step, controller; no settings."""
        states: list[bytes] = ray.get([rank.state_bytes.remote() for rank in self._joining])
        return states[0]

    def load_state_dict(self, state: bytes) -> None:
        """Resume all ranks from :meth:`state_dict`."""
        stored = ray.put(state)
        ray.get([rank.load_state_bytes.remote(stored) for rank in self._ranks])

    def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """Controller decisions above a version, the pending round's included."""
        decisions: list[dict[str, Any]] = ray.get([rank.decisions.remote(since_version) for rank in self._ranks])[0]
        return decisions

    def close(self) -> None:
        """End the actors, the controller's with them; a second call does nothing."""
        for actor in (*self._ranks, self._controller):
            if actor is not None:
                ray.kill(actor)
        self._ranks = self._joining = []
        self._controller = None
