"""The way to the controller through Ray."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayTaskError

from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.errors import ControllerUnavailableError, MaxentRayError
from maxent_ray.runtime.actor import Description, check_same, get_or_create
from maxent_ray.runtime.protocol import Answer, Report, StateLoad
from maxent_ray.runtime.rounds import RoundPolicy


class RayTransport:
    """Calls the run's actor; when the actor is gone for good, the next call makes or finds its successor.

    Args:
        run_id: The run.
        config: The controller's settings.
        world_size: Ranks that report.
        namespace: Ray namespace of the actor.
        policy: What happens to rounds that ranks are missing from.
        timeout_s: Seconds to wait for the actor at the start.
        actor_name: Name of an actor that serves one run after the other; None for one of this run alone.

    Raises:
        ConfigError: the actor exists with other settings, or Ray is not running.
        ControllerUnavailableError: the actor did not come up in time.
    """

    def __init__(
        self,
        run_id: str,
        config: ControllerConfig,
        world_size: int,
        namespace: str,
        policy: RoundPolicy,
        timeout_s: float,
        actor_name: str | None = None,
    ) -> None:
        self._asked = Description(run_id, config, world_size, policy)
        self._namespace = namespace
        self._actor_name = actor_name
        self._timeout_s = timeout_s
        self._may_serve_another = actor_name is not None
        """A restarted actor begins with the run it was created for: to be told at the start and after failures."""
        self._actor: Any = None  # an actor handle, or None
        found: Description = self._get(self._find().describe.remote(), timeout_s)
        check_same(found, self._asked)
        self._generation = found.generation

    def generation(self) -> int:
        """The actor's generation at the start."""
        return self._generation

    def prepare(self, report: Report) -> Report:
        """Nothing to reduce."""
        return report

    def submit(self, report: Report) -> Any:
        """Send without waiting."""
        return self._find().report.remote(replace(report, world_size=self._asked.world_size))

    def result(self, handle: Any, timeout_s: float) -> Answer:
        """Wait for the round of a submitted report; an actor that only waits for other ranks is not out of reach."""
        deadline = time.monotonic() + self._asked.policy.timeout_s + timeout_s
        while not ray.wait([handle], timeout=timeout_s)[0] and time.monotonic() < deadline:
            self._get(self._find().describe.remote(), timeout_s)  # does it answer at all?
        answer: Answer = self._get(handle, timeout_s)
        return answer

    def load_state(self, load: StateLoad, timeout_s: float) -> int:
        """Make the actor go on from a state."""
        addressed = replace(load, run_id=self._asked.run_id, world_size=self._asked.world_size)
        generation: int = self._get(self._find().load_state.remote(addressed), timeout_s)
        return generation

    def counters(self, timeout_s: float) -> dict[str, Any]:
        """The service's counters."""
        counters: dict[str, Any] = self._get(self._find().counters.remote(), timeout_s)
        return counters

    def close(self) -> None:
        """Let go of the handle; the actor ends with its creator's."""
        self._actor = None

    def _find(self) -> Any:
        asked = self._asked
        if self._actor is None:
            self._actor = get_or_create(
                asked.run_id, asked.config, asked.world_size, self._namespace, self._actor_name, asked.policy
            )
        if self._may_serve_another and self._actor_name is not None:
            restarted = self._actor.restart.remote(asked.run_id, asked.config, asked.world_size, asked.policy)
            self._may_serve_another = False
            self._get(restarted, self._timeout_s)
        return self._actor

    def _get(self, reference: Any, timeout_s: float) -> Any:
        try:
            return ray.get(reference, timeout=timeout_s)
        except RayTaskError as error:
            if not isinstance(error.cause, MaxentRayError):
                raise
            if isinstance(error.cause, ControllerUnavailableError):
                self._may_serve_another = True
            raise error.cause from None  # Ray's own wrapper does not pickle, and a reduction has to share it
        except GetTimeoutError as error:
            raise ControllerUnavailableError(f"run {self._asked.run_id!r}: no answer in {timeout_s} s") from error
        except RayActorError as error:
            self._may_serve_another = True
            if isinstance(error, ActorDiedError):
                self._actor = None
            raise ControllerUnavailableError(f"run {self._asked.run_id!r}: {error}") from error
