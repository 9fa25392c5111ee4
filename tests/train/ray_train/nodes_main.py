"""A run on a cluster of four nodes (raylets of one machine), two of which are killed. Started by the test beside it.

Arguments: the folder of results. The controller is put on a node of its own, so that one death takes it and no rank;
the other death takes a rank and no controller.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from maxent_ray.runtime import actor
from maxent_ray.runtime.actor import ControllerActor
from maxent_ray.runtime.connect import NAMESPACE
from maxent_ray.train.rank import RankProcess
from maxent_ray.train.ray_train import loop
from maxent_ray.train.ray_train.loop import run_training
from maxent_ray.train.ray_train.rank_loop import train_rank
from maxent_ray.train.ray_train.train_job import TrainJob
from tests.train.ray_train.faults import CHECKPOINT_EVERY, RANKS, fault_config, wait_until

NAME, CONTROLLER_NODE = "nodes", "controller-node"
SOON = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
"""By default Ray takes a quarter of a minute to notice that a node is gone."""
CONTROLLER_DIES, RANK_DIES = CHECKPOINT_EVERY, 2 * CHECKPOINT_EVERY


def controllers(namespace: str) -> list[dict[str, str]]:
    """Named actors, but for Ray Train's own."""
    return [each for each in ray.util.list_named_actors(all_namespaces=True) if each["namespace"] == namespace]


def on_its_own_node(node: str) -> Any:
    """A way to create the first attempt's controller on one node."""
    place = NodeAffinitySchedulingStrategy(node, soft=True)

    def create(run_id: str, namespace: str, *, wait: bool = True) -> tuple[Any, str]:
        options = {"namespace": namespace, "num_cpus": 0, "max_restarts": -1, "scheduling_strategy": place}
        while True:  # Ray takes a soft wish for a node without processors as one among others
            made = ray.remote(ControllerActor).options(name=f"maxent-controller-{run_id}", **options).remote()
            if ray.get(where(made)) == node:
                return made, run_id
            ray.kill(made)
            wait_until(lambda: not controllers(namespace), "the end of a controller")

    return create


def waiting_rank(settings: dict[str, TrainJob]) -> None:
    """The training function: says which node it is on, and at two steps waits for a death."""
    folder, run = settings["job"].folder, RankProcess.run
    if not (folder / f"killed-at-{CONTROLLER_DIES}").exists():
        actor.create_controller = on_its_own_node((folder.parent / CONTROLLER_NODE).read_text())  # type: ignore[assignment]

    def run_and_wait(process: RankProcess, steps: int) -> Any:
        place = process.worker.next_step
        if place in (CONTROLLER_DIES, RANK_DIES):
            (folder / f"at-{place}-{process.worker.placement.rank}").write_text(node_here())
            wait_until((folder / f"killed-at-{place}").exists, f"the death at step {place}")
        return run(process, steps)

    RankProcess.run = run_and_wait  # type: ignore[method-assign]  # in the rank's own process
    train_rank(settings)


def node_here() -> str:
    node: str = ray.get_runtime_context().get_node_id()
    return node


def where(actor: Any) -> Any:
    return actor.__ray_call__.remote(lambda self: node_here())


class Executioner(threading.Thread):
    """Kills a node when all ranks have come to a step; if it cannot, the whole program ends."""

    def __init__(self, cluster: Cluster, folder: Path, controller_node: Any) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._folder = folder
        self._controller_node = controller_node

    def run(self) -> None:
        try:
            self._kill_two()
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def _kill_two(self) -> None:
        self._wait_for_ranks(CONTROLLER_DIES)
        (controller,) = controllers(NAMESPACE)
        actor = ray.get_actor(**controller)
        assert ray.get(where(actor)) == self._controller_node.node_id
        pid = ray.get(actor.__ray_call__.remote(lambda self: os.getpid()))
        self._kill(self._controller_node, CONTROLLER_DIES, pid)
        nodes = self._wait_for_ranks(RANK_DIES)
        victim = next(node for node in self._cluster.worker_nodes if node.node_id in nodes)
        self._kill(victim, RANK_DIES)

    def _wait_for_ranks(self, step: int) -> list[str]:
        marks = [self._folder / f"at-{step}-{rank}" for rank in range(RANKS)]
        wait_until(lambda: all(mark.exists() and mark.read_text() for mark in marks), f"step {step}")
        return [mark.read_text() for mark in marks]

    def _kill(self, node: Any, step: int, outliving: int | None = None) -> None:
        """End a node's raylet, as a power cut would; an actor's process there would answer for another moment."""
        self._cluster.remove_node(node, allow_graceful=False)
        if outliving is not None:
            os.kill(outliving, signal.SIGKILL)
        (self._folder / f"killed-at-{step}").touch()


def main(results: Path) -> None:
    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": SOON, **small})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    controller_node = cluster.add_node(num_cpus=0, **small)
    ray.init(address=cluster.address, log_to_driver=False)
    cluster.wait_for_nodes()
    (results / CONTROLLER_NODE).write_text(controller_node.node_id)
    loop.train_rank = waiting_rank
    Executioner(cluster, results / NAME, controller_node).start()
    run_training(fault_config(), name=NAME, results=results)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
