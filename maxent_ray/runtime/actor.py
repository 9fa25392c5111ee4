"""The controller service as an asyncio Ray actor: waiting for a round is all it adds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, fields
from typing import Any

import ray

from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.controller_state import ControllerState
from maxent_ray.core.field_kinds import shown
from maxent_ray.errors import ConfigError, ControllerUnavailableError
from maxent_ray.runtime.metrics import ControllerMetrics
from maxent_ray.runtime.protocol import Answer, Report, StateLoad
from maxent_ray.runtime.rounds import RoundPolicy
from maxent_ray.runtime.service import ControllerService

MOST_WAITING = 20_000
"""Calls that may wait at a time: two reports of every rank, and Ray's default would be a thousand."""
RESENDS = 3
"""Every method may run twice, so Ray may send a call again to an actor that has restarted: twice as fast as when the
caller hears of the failure and tries again."""


@dataclass(frozen=True)
class Description:
    """What an actor was created with."""

    run_id: str
    config: ControllerConfig
    world_size: int = field(compare=False)
    """May change with a load."""
    policy: RoundPolicy = RoundPolicy()
    generation: int = field(default=0, compare=False)
    """How often a state was loaded."""


class ControllerActor:
    """One run's :class:`ControllerService`; ``report`` returns when the round is closed."""

    def __init__(self, run_id: str, config: ControllerConfig, world_size: int, policy: RoundPolicy) -> None:
        self._service = ControllerService(run_id, config, world_size, policy=policy)
        self._metrics = ControllerMetrics(run_id, config.objective or "fixed")
        self._changed = asyncio.Event()

    async def report(self, report: Report) -> Answer:
        """Take one rank's report and wait for its round."""
        service, before = self._service, self._service.state
        _check_run(report, service.run_id)
        try:
            answer = service.report(report)
        finally:  # a report may show which rounds nobody need wait for, and be refused itself
            self._spread(service, before)
        deadline = time.monotonic() + service.policy.timeout_s
        while answer is None:
            answer = await self._wait(service, report, deadline)
        return answer

    async def _wait(self, service: ControllerService, report: Report, deadline: float) -> Answer | None:
        """Wait until something changes; when the time is up, the policy says what becomes of the round."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._changed.wait()
        except TimeoutError:
            before = service.state
            try:
                return service.time_out(report.step)
            finally:
                self._spread(service, before)
                self._metrics.publish_counters(service.counters())
        if self._service is not service or service.generation != report.generation:
            raise ControllerUnavailableError(
                f"the round of step {report.step} was dropped: another state was loaded"
            )
        return service.answer(report.step)

    def _spread(self, service: ControllerService, before: ControllerState) -> None:
        """Tell metrics and waiting ranks what came after a state."""
        if service.state is before:
            return
        for decision in service.decisions(before.version):
            self._metrics.publish(decision)
        self._metrics.publish_counters(service.counters())
        self._wake()

    async def load_state(self, load: StateLoad) -> int:
        """Go on from a state; whoever waits for a round of the old one is released with an error."""
        _check_run(load, self._service.run_id)
        generation = self._service.load_state(load)
        self._wake()
        return generation

    async def restart(self, run_id: str, config: ControllerConfig, world_size: int, policy: RoundPolicy) -> None:
        """Serve another run from its beginning, in the same process: a new one would take seconds.

        Whoever waits for the former run is released with an error. Nothing happens if ``run_id`` is served already.
        """
        former = self._service
        if former.run_id == run_id:
            return
        self._service = ControllerService(
            run_id, config, world_size, policy=policy, generation=former.generation + 1
        )
        self._metrics = ControllerMetrics(run_id, config.objective or "fixed")
        self._wake()

    async def describe(self) -> Description:
        """What the actor was created with."""
        service = self._service
        return Description(service.run_id, service.config, service.world_size, service.policy, service.generation)

    async def state(self) -> dict[str, Any]:
        """``ControllerState.to_dict()`` after the last closed round."""
        return self._service.state.to_dict()

    async def decisions(self, since_version: int = 0) -> list[dict[str, Any]]:
        """The decision log."""
        return self._service.decisions(since_version)

    async def counters(self) -> dict[str, Any]:
        """The service's counters."""
        return self._service.counters()

    def _wake(self) -> None:
        """Wake everyone who waits now; later waiters get a new event."""
        self._changed.set()
        self._changed = asyncio.Event()


def _check_run(sent: Report | StateLoad, served: str) -> None:
    """Refuse what is meant for another run; what is malformed is left to the service.

    Raises:
        ControllerUnavailableError: the caller's actor serves another run; asked to, it goes back to the caller's.
    """
    run_id = vars(sent).get("run_id") if type(sent) in (Report, StateLoad) else None
    if type(run_id) is str and run_id != served:
        raise ControllerUnavailableError(f"run {shown(run_id)}: the actor serves run {served!r} at present")


def get_or_create(
    run_id: str,
    config: ControllerConfig,
    world_size: int,
    namespace: str,
    name: str | None = None,
    policy: RoundPolicy = RoundPolicy(),
) -> Any:
    """The run's actor, created by whoever comes first. It needs no CPU and restarts empty after a crash.

    It lives as long as the process that created it holds the handle. One that serves one run after the other is found
    by ``name``.

    Raises:
        ConfigError: Ray is not running in this process.
    """
    if not ray.is_initialized():
        raise ConfigError("Ray is not running; call ray.init() first, or connect with local=True")
    return (
        ray.remote(ControllerActor)
        .options(
            name=f"maxent-controller-{name or run_id}",
            namespace=namespace,
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=MOST_WAITING,
            max_task_retries=RESENDS,
        )
        .remote(run_id, config, world_size, policy)
    )


def check_same(found: Description, asked: Description) -> None:
    """Refuse an actor that was created for something else.

    Raises:
        ConfigError: names every difference.
    """
    if found == asked:
        return
    pairs = [*_pairs(found.config, asked.config), *_pairs(found.policy, asked.policy)]
    differences = [f"{name} is {there!r} there, {here!r} here" for name, there, here in pairs if there != here]
    raise ConfigError(f"run {asked.run_id!r} already has a controller, with other settings: {'; '.join(differences)}")


def _pairs(a: Any, b: Any) -> list[tuple[str, object, object]]:
    return [(field.name, getattr(a, field.name), getattr(b, field.name)) for field in fields(a)]
