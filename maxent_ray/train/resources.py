"""Resources that a run needs of the cluster, checked before anything starts."""

from __future__ import annotations

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
