"""How reports reach the controller and answers come back: the protocol, and the in-process transport."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from maxent_ray.runtime.protocol import Answer, Report, StateLoad
from maxent_ray.runtime.service import ControllerService


class Transport(Protocol):
    """What a client needs. Whatever cannot be reached in time raises :class:`ControllerUnavailableError`."""

    def generation(self) -> int:
        """How often a state had been loaded into the controller when this transport was opened."""

    def prepare(self, report: Report) -> Report:
        """The report as it will be sent: merged over ranks, where the transport reduces."""

    def submit(self, report: Report) -> Any:
        """Send without waiting; returns a handle for :meth:`result`."""

    def result(self, handle: Any, timeout_s: float) -> Answer:
        """Wait for the answer of a submitted report: ``timeout_s`` for the controller, a round's time for other ranks.

        Raises:
            RoundTimeoutError: the controller is there, but ranks are missing from the round.
        """

    def load_state(self, load: StateLoad, timeout_s: float) -> int:
        """Make the controller go on from a state; returns the generation of the reports that follow."""

    def counters(self, timeout_s: float) -> dict[str, Any]:
        """The service's counters."""

    def close(self) -> None:
        """Let go of the controller."""


class LocalTransport:
    """A service in this process, without Ray. Ranks that run as threads may share one.

    ``result`` waits for the ranks of other threads, as long as the service's round policy says; with one rank the
    answer is always there.
    """

    def __init__(self, service: ControllerService) -> None:
        self._service = service
        self._changed = threading.Condition()

    def generation(self) -> int:
        """The service's generation."""
        return self._service.generation

    def prepare(self, report: Report) -> Report:
        """Nothing to reduce."""
        return report

    def submit(self, report: Report) -> Report:
        """Hand the report to the service; the handle is the report."""
        with self._changed:
            self._service.report(report)
            self._changed.notify_all()
        return report

    def result(self, handle: Report, timeout_s: float) -> Answer:
        """Wait until the round of the report is closed."""
        del timeout_s  # a service in this process cannot be away
        with self._changed:
            service = self._service
            self._changed.wait_for(lambda: service.answer(handle.step) is not None, service.policy.timeout_s)
            answer = service.answer(handle.step)
            if answer is None:
                answer = service.time_out(handle.step)
                self._changed.notify_all()
        return answer

    def load_state(self, load: StateLoad, timeout_s: float) -> int:
        """Load into the service."""
        del timeout_s
        with self._changed:
            generation = self._service.load_state(load)
            self._changed.notify_all()
        return generation

    def counters(self, timeout_s: float) -> dict[str, Any]:
        """The service's counters."""
        del timeout_s
        return self._service.counters()

    def close(self) -> None:
        """Nothing to let go of: the service belongs to whoever made it."""
