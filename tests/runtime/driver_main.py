"""A driver of its own: connects its ranks under a name, measures one KL at every step, and prints what became of β.

Arguments: a cluster, the run's name, ranks, where they meet ("actor", or a file for a process group), the KL.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import ray
import torch.distributed as dist

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.runtime.connect import NAMESPACE, connect
from maxent_ray.runtime.options import ClientOptions
from tests.runtime.support import Host, new_host, on_hosts

CONFIG = ControllerConfig(group_size=8, target_entropy=1.5, target_kl=0.05)
STEPS = 12


def measured_kl(kl: float) -> BatchStatistics:
    return BatchStatistics(groups=1, weight_entropy_sum=1.5, tokens=1, policy_kl_sum=kl)


def join(host: Host, rank: int, size: int, run_id: str, meeting: str) -> str:
    if meeting != "actor":
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    host.client = connect(run_id, rank, size, CONFIG, options=ClientOptions(lag=0, timeout_s=30.0))
    return host.client.run_id


def train(host: Host, rank: int, size: int, kl: float) -> list[float]:
    seen = []
    for step in range(STEPS):
        seen.append(host.client.coefficients(step).beta)
        host.client.report(step, measured_kl(kl))
    return [*seen, host.client.coefficients(STEPS).beta]


def decided(name: str) -> list[float]:
    """KL of each decision in the log of the actor that has the run's name."""
    actor = ray.get_actor(f"maxent-controller-{name}", NAMESPACE)
    decisions: list[dict[str, Any]] = []
    while len(decisions) < STEPS:
        decisions = ray.get(actor.decisions.remote())
    return [decision["kl"] for decision in decisions]


if __name__ == "__main__":
    address, run_id, size, meeting, kl = sys.argv[1:]
    ray.init(address=address, log_to_driver=False)
    hosts = [new_host() for _ in range(int(size))]
    names = on_hosts(hosts, join, run_id, meeting)
    print(json.dumps(names), flush=True)
    sys.stdin.readline()
    print(json.dumps({"betas": on_hosts(hosts, train, float(kl)), "kl": decided(names[0])}), flush=True)
    sys.stdin.readline()
