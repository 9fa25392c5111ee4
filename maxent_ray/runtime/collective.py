"""Collectives of one run: one gather and one broadcast a step, over a process group of its own.

The group moves CPU tensors (gloo) and has a store and a time limit of its own, so it works beside a default group of
any kind (gloo, or nccl, which moves GPU tensors only), and survives that one being destroyed and created again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from maxent_ray.errors import RankLostError
from maxent_ray.runtime.rank_store import SILENT_S, RankStore
from maxent_ray.runtime.reduction import Report

REPORT_BYTES, DECISION_BYTES = 4096, 16384
"""Sizes of the two messages; a report holds numbers and a reason of bounded length."""


class LocalCollective:
    """Collectives of a run with a single rank. All ranks of a run make the same calls in the same order."""

    def gather(self, report: Report) -> list[Report]:
        """Every rank's report, in rank order."""
        return [report]

    def broadcast(self, text: str, step: int) -> str:
        """Rank 0's text on the decision of a step, on all ranks."""
        return text

    def close(self) -> None:
        """Disconnect from the other ranks."""


class GlooCollective(LocalCollective):
    """Collectives over processes, by gloo. A rank that dies or hangs raises :class:`RankLostError` on all others.

    Args:
        store: Shared by the ranks; also names those that are lost.
        rank: This process's rank.
        world_size: Ranks of the run.
        timeout_s: Seconds until that error, which also ends every later call.
    """

    def __init__(self, store: RankStore, rank: int, world_size: int, timeout_s: float) -> None:
        self._store = store
        self._world_size = world_size
        self._lost = ""
        self._group: Any = None  # a ProcessGroupGloo, or None
        with self._naming_lost_ranks("connects"):
            limit = timedelta(seconds=max(timeout_s - 2 * SILENT_S, timeout_s / 2))
            self._group = dist.ProcessGroupGloo(store.prefixed("rounds"), rank, world_size, limit)

    def gather(self, report: Report) -> list[Report]:
        """Every rank's report, in rank order."""
        table = [_buffer("", REPORT_BYTES) for _ in range(self._world_size)]
        with self._naming_lost_ranks(f"reports step {report.step}"):
            self._group.allgather([table], [_buffer(report.to_text(), REPORT_BYTES)]).wait()
        return [Report.from_text(_text(row)) for row in table]

    def broadcast(self, text: str, step: int) -> str:
        """Rank 0's text on the decision of a step, on all ranks."""
        buffer = _buffer(text, DECISION_BYTES)
        with self._naming_lost_ranks(f"waits for the decision on step {step}"):
            self._group.broadcast(buffer, 0).wait()
        return _text(buffer)

    def close(self) -> None:
        """Disconnect from the other ranks, which get an error in their next round."""
        self._group, self._lost = None, self._lost or "the connection to the other ranks was closed"
        self._store.close()

    @contextmanager
    def _naming_lost_ranks(self, activity: str) -> Iterator[None]:
        if self._lost:
            raise RankLostError(self._lost)
        try:
            yield
        except RuntimeError as error:  # of gloo: a closed connection, the time limit
            self._group = None  # closes our connections, so that ranks that wait for us fail at once
            self._lost = f"{self._store.roll_call(activity)} ({str(error).splitlines()[0][:120]})"
            raise RankLostError(self._lost) from error


def _buffer(text: str, size: int) -> Tensor:
    """A text as bytes, padded with zeros, which do not occur in JSON."""
    return torch.frombuffer(bytearray(text.encode().ljust(size, b"\0")), dtype=torch.uint8)


def _text(buffer: Tensor) -> str:
    return bytes(buffer.numpy()).rstrip(b"\0").decode()
