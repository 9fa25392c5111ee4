"""Collective reduction: ranks merge reports by torch.distributed, only rank 0 talks to the controller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch.distributed as dist

from maxent_ray.errors import ControllerError, ControllerUnavailableError, MaxentRayError
from maxent_ray.runtime.merging import merge_reports
from maxent_ray.runtime.process_group import check_group, cpu_group
from maxent_ray.runtime.protocol import Answer, Report, StateLoad
from maxent_ray.runtime.rounds import RoundPolicy
from maxent_ray.runtime.transport import Transport


@dataclass(frozen=True)
class _Outcome:
    """What rank 0 got, for everyone: a value or the error in its place."""

    value: Any = None
    error: MaxentRayError | None = None


class CollectiveTransport:
    """Merges reports over ranks and shares rank 0's answers, errors included, so that all ranks always agree.

    Every rank makes the same calls in the same order. A controller behind it sees one rank.

    Args:
        rank: This process's rank.
        world_size: Ranks of the run.
        policy: How many ranks must have measured something.
        open_inner: Opens the way to the controller; called on rank 0.

    Raises:
        ConfigError: torch.distributed is not running, or with another rank or world size.
    """

    def __init__(
        self, rank: int, world_size: int, policy: RoundPolicy, open_inner: Callable[[], Transport]
    ) -> None:
        check_group(rank, world_size, "reduction='collective'")
        self._needed = policy.needed(world_size)
        self._rank = rank
        self._world_size = world_size
        self._group = cpu_group()
        self._inner: Transport | None = None
        self._generation: int = self._share(lambda: self._open(open_inner))

    def generation(self) -> int:
        """The controller's generation at the start, on all ranks."""
        return self._generation

    def prepare(self, report: Report) -> Report:
        """Exchange the reports of a step; every rank gets the same merged one, as rank 0's."""
        reports: list[Report | None] = [None] * self._world_size
        dist.all_gather_object(reports, report, group=self._group)
        known = [entry for entry in reports if entry is not None]
        steps = {entry.step for entry in known}
        if len(steps) > 1:
            raise ControllerError(f"ranks report different steps: {sorted(steps)}")
        merged = merge_reports(known, self._needed)
        return replace(
            report,
            rank=0,
            statistics=merged.statistics,
            gradients=merged.gradients,
            partial_gradients=merged.partial,
            void=merged.void,
        )

    def submit(self, report: Report) -> Any:
        """Rank 0 sends; a failure shows in :meth:`result`, on all ranks at once."""
        if self._inner is None:
            return _Outcome()
        try:
            return _Outcome(self._inner.submit(report))
        except MaxentRayError as error:
            return _Outcome(error=error)

    def result(self, handle: _Outcome, timeout_s: float) -> Answer:
        """Rank 0 waits for the answer and passes it on."""
        answer: Answer = self._share(lambda: self._wait(handle, timeout_s))
        return answer

    def load_state(self, load: StateLoad, timeout_s: float) -> int:
        """Rank 0 loads; all ranks return, or fail, together."""
        generation: int = self._share(lambda: self._controller().load_state(load, timeout_s))
        return generation

    def counters(self, timeout_s: float) -> dict[str, Any]:
        """The service's counters, on all ranks."""
        counters: dict[str, Any] = self._share(lambda: self._controller().counters(timeout_s))
        return counters

    def close(self) -> None:
        """Let go of the controller."""
        if self._inner is not None:
            self._inner.close()

    def _open(self, open_inner: Callable[[], Transport]) -> int:
        self._inner = open_inner()
        return self._inner.generation()

    def _controller(self) -> Transport:
        if self._inner is None:
            raise ControllerUnavailableError("only rank 0 talks to the controller")
        return self._inner

    def _wait(self, handle: _Outcome, timeout_s: float) -> Answer:
        if handle.error is not None:
            raise handle.error
        return self._controller().result(handle.value, timeout_s)

    def _share(self, call: Callable[[], Any]) -> Any:
        """Run ``call`` on rank 0; its value or its error comes out on every rank."""
        outcomes: list[_Outcome | None] = [None]
        if self._rank == 0:
            try:
                outcomes = [_Outcome(call())]
            except MaxentRayError as error:
                outcomes = [_Outcome(error=error)]
            except Exception as error:  # whatever it is, the other ranks wait in the broadcast below
                outcomes = [_Outcome(error=ControllerError(f"{type(error).__name__} on rank 0: {error}"))]
        dist.broadcast_object_list(outcomes, src=0, group=self._group)
        outcome = outcomes[0]
        if outcome is None:
            raise ControllerUnavailableError("rank 0 sent nothing")
        if outcome.error is not None:
            raise outcome.error
        return outcome.value
