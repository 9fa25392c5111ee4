"""Sources of rank 0's decisions: the run's actor or, while it cannot be reached, the same function in this process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from maxent_ray.errors import ControllerUnavailableError
from maxent_ray.runtime.decision_round import decide
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.reply import Reply

LEAST_WAIT_S = 0.05
"""Least seconds to wait for the actor: its answer may have come during a long training step."""

logger = logging.getLogger(__name__)


class LocalDecider:
    """Decides one request after the other, in this process."""

    _request: str

    def submit(self, request: str) -> bool:
        """Send a request without waiting; False when it is not sent, and will be decided in this process."""
        self._request = request
        return True

    def reply(self) -> Reply:
        """Wait for the answer to the last request."""
        return Reply(decide(self._request), decided_locally=False)

    def close(self) -> None:
        """Drop the handle of the actor, if there is one."""


class ActorDecider(LocalDecider):
    """Requests decisions from an actor.

    An outage costs one wait of ``timeout_s`` at most; after that the actor is probed between steps, without waiting.

    Args:
        run_id: The run, for messages.
        actor: The controller's actor.
        options: Time limit, and what to do without the actor.
        recreate: Creates another actor when this one is permanently dead.
    """

    def __init__(self, run_id: str, actor: Any, options: ClientOptions, recreate: Callable[[], Any]) -> None:
        import ray

        self._ray = ray
        self._run_id = run_id
        self._actor = actor
        self._options = options
        self._recreate = recreate
        self._call: Any = None  # of the last request, or None where it was not sent
        self._probe: Any = None  # during an outage
        self._is_dead = False  # permanently
        self._deadline = 0.0
        self._failure = ""

    def submit(self, request: str) -> bool:
        """Send a request, unless the actor is still unreachable. Raises nothing: other ranks would wait."""
        self._request, self._call = request, None
        self._deadline = time.monotonic() + self._options.timeout_s
        try:
            if self._is_reachable():
                self._call = self._actor.decide.remote(request)
        except Exception as error:
            self._fail(error)
        return self._call is not None

    def reply(self) -> Reply:
        """Wait for the actor's answer, or decide in this process.

        Raises:
            ControllerUnavailableError: the actor did not answer and ``when_unreachable`` is ``raise``.
        """
        if self._call is None:
            self.submit(self._request)
        if self._call is not None:
            try:
                answer = self._ray.get(self._call, timeout=max(self._deadline - time.monotonic(), LEAST_WAIT_S))
                self._failure = ""
                return Reply(answer, decided_locally=False)
            except self._ray.exceptions.RayError as error:
                self._fail(error)
        if self._options.when_unreachable == "raise":
            raise ControllerUnavailableError(f"run {self._run_id!r}: {self._failure}")
        return super().reply()._replace(decided_locally=True)

    def close(self) -> None:
        """Drop the handle of the actor, which ends with its last handle."""
        self._actor = self._call = self._probe = None

    def _is_reachable(self) -> bool:
        """True when there is no outage, or it has ended; looks without waiting."""
        if self._is_dead:
            self._actor, self._is_dead = self._recreate(), False
            self._probe = self._actor.ping.remote()
        if self._probe is not None and self._ray.wait([self._probe], timeout=0)[0]:
            probe, self._probe = self._probe, None
            self._ray.get(probe)
            self._failure = ""
            logger.info("run %r: the controller can be reached again", self._run_id)
        return self._probe is None

    def _fail(self, error: Exception) -> None:
        """Begin or continue an outage: probe the actor between steps."""
        from maxent_ray.runtime.remote_errors import cause_of  # loads Ray

        exceptions, self._call = self._ray.exceptions, None
        raised = isinstance(error, exceptions.RayTaskError)  # the actor lives
        reason = cause_of(error).message
        if isinstance(error, exceptions.GetTimeoutError):
            reason = f"no answer in {self._options.timeout_s:g} s"
        first, self._failure = not self._failure, f"the controller cannot be reached ({reason})"
        if first and self._options.when_unreachable == "decide_locally":
            text = "run %r: %s; until it can be reached, rank 0 decides, with the same result"
            logger.warning(text, self._run_id, self._failure)
        self._is_dead = isinstance(error, exceptions.ActorDiedError | exceptions.ActorAlreadyExistsError)
        if not self._is_dead and not raised:
            with suppress(Exception):  # the next step tries again
                self._probe = self._actor.ping.remote()
