"""Resources that a run needs of the cluster, checked before anything starts."""

from __future__ import annotations

import os

import ray

from maxent_ray.config import TrainSettings
from maxent_ray.errors import ResourceError


def uses_gpus(train: TrainSettings) -> bool:
    """True when the ranks get GPUs: as configured, or with ``use_gpu`` None if the cluster has enough of them."""
    if train.use_gpu is not None:
        return train.use_gpu
    return bool(ray.cluster_resources().get("GPU", 0.0) >= train.num_workers * train.gpus_per_worker)


def check_resources(train: TrainSettings) -> None:
    """Check that one run fits the cluster.

    Raises:
        ResourceError: it does not; the message names what is needed and what is available.
    """
    available = ray.cluster_resources()
    needs = {"CPU": (train.num_workers * train.cpus_per_worker, "train.cpus_per_worker")}
    if uses_gpus(train):
        needs["GPU"] = (train.num_workers * train.gpus_per_worker, "train.gpus_per_worker")
    for resource, (needed, setting) in needs.items():
        if available.get(resource, 0.0) < needed:
            raise ResourceError(
                f"train.num_workers = {train.num_workers} with {setting} need {needed:g} {resource}s; the cluster "
                f"has {available.get(resource, 0.0):g}. Lower train.num_workers or {setting}, or use a larger cluster."
            )


def rank_threads(train: TrainSettings, runs: int = 1) -> int:
    """Threads of each rank, as configured, or its share of the cores while ``runs`` runs fill the cluster.

    Args:
        train: Ranks of one run, and what each keeps.
        runs: Runs that want to train at the same time, as the trials of a population do.
    """
    if train.threads_per_worker is not None:
        return train.threads_per_worker
    machines = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    limit = min(cpus for cpus in machines if cpus > 0)
    named = os.environ.get("OMP_NUM_THREADS", "")
    return _share(train, sum(machines), runs, min(limit, int(named)) if named.isdecimal() else limit)


def _share(train: TrainSettings, cpus: float, runs: int, limit: float) -> int:
    """Whole threads of a rank among those that fit at once."""
    at_once = min(runs * train.num_workers, max(1, int(cpus / train.cpus_per_worker)))
    return max(1, int(min(max(cpus / at_once, train.cpus_per_worker), limit)))
