"""Rank 0's way to a decision: from the run's actor, or, while that cannot be reached, from the same function here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from maxent_ray.errors import ControllerUnavailableError
from maxent_ray.runtime.deciding import decide
from maxent_ray.runtime.options import ClientOptions

LEAST_WAIT_S = 0.05
"""For an answer that came while a long step was trained."""

logger = logging.getLogger(__name__)


class Reply(NamedTuple):
    """A decided round as rank 0 got it."""

    answer: str
    decided_locally: bool
    """The actor could not be reached."""


class LocalDecider:
    """Answers one request after the other, in this process."""

    _request: str

    def submit(self, request: str) -> bool:
        """Send a request without waiting; False when it stays here, to be decided here."""
        self._request = request
        return True

    def reply(self) -> Reply:
        """Wait for the answer to the last request."""
        return Reply(decide(self._request), decided_locally=False)

    def close(self) -> None:
        """Let go of the actor, if there is one."""


class ActorDecider(LocalDecider):
    """Asks an actor. An outage costs one wait of ``timeout_s`` at most; the actor is then tried beside the steps.

    Args:
        run_id: The run, for messages.
        actor: The controller's actor.
        options: Patience, and what to do without the actor.
        recreate: Makes another actor when this one is gone for good.
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
        self._is_gone = False  # for good
        self._deadline = 0.0
        self._failure = ""

    def submit(self, request: str) -> bool:
        """Send a request, unless there is an outage that is not over. Raises nothing: other ranks would wait."""
        self._request, self._call = request, None
        self._deadline = time.monotonic() + self._options.timeout_s
        try:
            if self._is_back():
                self._call = self._actor.decide.remote(request)
        except Exception as error:
            self._fail(error)
        return self._call is not None

    def reply(self) -> Reply:
        """The actor's answer, or this process's own.

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
        """Let go of the actor, which ends with its last handle."""
        self._actor = self._call = self._probe = None

    def _is_back(self) -> bool:
        """Look for the end of an outage, without waiting."""
        if self._is_gone:
            self._actor, self._is_gone = self._recreate(), False
            self._probe = self._actor.ping.remote()
        if self._probe is not None and self._ray.wait([self._probe], timeout=0)[0]:
            probe, self._probe = self._probe, None
            self._ray.get(probe)
            self._failure = ""
            logger.info("run %r: the controller is back", self._run_id)
        return self._probe is None

    def _fail(self, error: Exception) -> None:
        """Begin an outage, or go on with one: look for the actor beside the steps."""
        exceptions, self._call = self._ray.exceptions, None
        raised = isinstance(error, exceptions.RayTaskError)  # then it is there, and the traceback's last line says why
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1 if raised else 0]
        if isinstance(error, exceptions.GetTimeoutError):
            reason = f"no answer in {self._options.timeout_s:g} s"
        first, self._failure = not self._failure, f"the controller cannot be reached ({reason})"
        if first and self._options.when_unreachable == "decide_locally":
            text = "run %r: %s; until it is back rank 0 decides, with the same outcome"
            logger.warning(text, self._run_id, self._failure)
        self._is_gone = isinstance(error, exceptions.ActorDiedError | exceptions.ActorAlreadyExistsError)
        if not self._is_gone and not raised:
            with suppress(Exception):  # then the next step tries again
                self._probe = self._actor.ping.remote()
