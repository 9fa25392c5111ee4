"""The controller's actor: decides rounds, logs and exports the decisions, and keeps no state.

Loads neither torch nor models, so that it starts quickly, also after a crash.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Iterator
from threading import Thread
from typing import Any

import ray
from ray.exceptions import RayError

from maxent_ray.errors import ConfigError, ControllerUnavailableError
from maxent_ray.runtime.decision_round import decide
from maxent_ray.runtime.metrics import ActorMetrics
from maxent_ray.runtime.remote_errors import cause_of
from maxent_ray.telemetry import Telemetry

START_TIMEOUT_S = 60.0
"""Seconds for the actor's process to start."""
NAME_PATIENCE_S, NAME_POLL_S = 2.0, 0.1
"""Seconds to wait for a taken name: the actor of a run that has just died keeps its name for a moment."""
EXPORT_EVERY_S, LOGGED = 0.5, 1000
_NAME = "maxent-controller-"

logger = logging.getLogger(__name__)


class ControllerActor:
    """Hosts ``Controller.step`` for one run, or for several in turn: every request names its own."""

    def __init__(self) -> None:
        self._log: deque[dict[str, Any]] = deque(maxlen=LOGGED)
        self._to_export: deque[tuple[str, str]] = deque()
        self._addresses: dict[str, str | None] = {}
        self._askers: dict[tuple[str, int], str] = {}
        Thread(target=self._export, name="maxent-ray-metrics", daemon=True).start()

    def decide(self, request: str) -> str:
        """:func:`~maxent_ray.runtime.decision_round.decide`; the answer does not wait for the export."""
        answer = decide(request)
        self._to_export.append((request, answer))
        return answer

    def ping(self) -> None:
        """Return at once: shows that the actor can be reached."""

    def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """The last decisions of this actor, oldest first, without those that rank 0 made during an outage."""
        return [decision for decision in list(self._log) if decision["version"] > since_version]

    def reserve(self, topic: str) -> None:
        """Say that the ranks of a run will look for an address here; one of an earlier run is withdrawn."""
        self._addresses[topic] = None

    def publish(self, topic: str, address: str) -> None:
        """Publish the address of rank 0's store to the other ranks of a run."""
        self._addresses[topic] = address

    def has_run(self, topic: str) -> bool:
        """True once rank 0 of this run has reserved its topic."""
        return topic in self._addresses

    def address(self, topic: str, rank: int, asker: str) -> str | None:
        """Address of rank 0's store; given to one asker for each rank."""
        address = self._addresses.get(topic)
        if address is None or self._askers.setdefault((address, rank), asker) != asker:
            return None
        return address

    def _export(self) -> None:
        """Log and publish decisions, several at a time; a failure is logged once and counted, and stops nothing."""
        metrics: ActorMetrics | None = None
        exports = Telemetry("a decision's metrics cannot be exported; decisions continue")
        while True:
            time.sleep(EXPORT_EVERY_S)
            while self._to_export:
                request, answer = self._to_export.popleft()
                with exports.attempt():
                    decision = json.loads(answer.split("\n")[1])
                    self._log.append(decision)
                    metrics = metrics or ActorMetrics()
                    metrics.publish(decision, json.loads(request.partition("\n")[0]))


def create_controller(run_id: str, namespace: str, *, wait: bool = True) -> tuple[Any, str]:
    """Create a run's actor. It needs no CPU, restarts after a crash, and ends with the process that created it.

    Args:
        run_id: Names the run.
        namespace: Ray namespace of the actor.
        wait: Wait until its process has started.

    Returns:
        The actor's handle, and the run's name: ``run_id``, or one made unique where a live run has that already.

    Raises:
        ConfigError: Ray is not running in this process.
        ControllerUnavailableError: its process does not start.
    """
    if not ray.is_initialized():
        raise ConfigError("Ray is not running; call ray.init() first, or connect with local=True")
    actor: Any = None
    number, deadline = 1, time.monotonic() + (NAME_PATIENCE_S if wait else 0.0)
    while actor is None:
        name = run_id if number == 1 else f"{run_id}-{number}"
        options = {"name": f"{_NAME}{name}", "namespace": namespace, "num_cpus": 0, "max_restarts": -1}
        try:
            actor = ray.remote(ControllerActor).options(**options).remote()
            if wait:
                ray.get(actor.ping.remote(), timeout=START_TIMEOUT_S)
        except ValueError as error:
            if "already" not in str(error):
                raise
            actor = None  # the name is taken; either call may raise this
            if time.monotonic() < deadline:
                time.sleep(NAME_POLL_S)
            else:
                number += 1
        except RayError as error:
            reason = f"the controller's actor does not start: {cause_of(error).message}"
            raise ControllerUnavailableError(f"run {name!r}: {reason}") from error
    if number > 1:
        logger.warning("run %r: a live run of this cluster has that name; this one is called %r", run_id, name)
    return actor, name


def live_controllers(run_id: str, namespace: str) -> Iterator[Any]:
    """Actors of all live runs that were started with this ``run_id``."""
    for entry in ray.util.list_named_actors(all_namespaces=True):
        name, number = entry["name"], entry["name"].removeprefix(f"{_NAME}{run_id}")
        if entry["namespace"] == namespace and (not number or (number[0] == "-" and number[1:].isdecimal())):
            try:
                yield ray.get_actor(name, namespace)
            except ValueError:  # it has ended since
                continue
