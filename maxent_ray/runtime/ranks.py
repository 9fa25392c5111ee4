"""The ranks of one run: one gather and one broadcast a step, over a process group that is theirs alone.

The group moves CPU tensors (gloo) and has a store and a time limit of its own, so it works beside a default group of
any kind (gloo, or nccl, which moves GPU tensors only), and goes on when that one is destroyed and made anew.
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
from maxent_ray.runtime.meeting import SILENT_S, Meeting
from maxent_ray.runtime.reduction import Report

REPORT_BYTES, DECISION_BYTES = 4096, 16384
"""Sizes of the messages; a report is numbers and a reason of bounded length."""


class SingleRank:
    """The ranks of a run that has one. All ranks of a run make the same calls in the same order."""

    def gather(self, report: Report) -> list[Report]:
        """Every rank's report, in rank order."""
        return [report]

    def broadcast(self, text: str, step: int) -> str:
        """Rank 0's text on the decision of a step, on all ranks."""
        return text

    def close(self) -> None:
        """Let go of the other ranks."""


class GlooRanks(SingleRank):
    """Ranks in processes of their own. A rank that dies or hangs is a :class:`RankLostError` on all others in time.

    Args:
        meeting: Where the ranks meet, also when one is lost.
        rank: This process's rank.
        world_size: Ranks of the run.
        timeout_s: Until that error; it also ends every later call.
    """

    def __init__(self, meeting: Meeting, rank: int, world_size: int, timeout_s: float) -> None:
        self._meeting = meeting
        self._world_size = world_size
        self._lost = ""
        self._group: Any = None  # a ProcessGroupGloo, or None
        with self._naming_the_lost("connects"):
            limit = timedelta(seconds=max(timeout_s - 2 * SILENT_S, timeout_s / 2))
            self._group = dist.ProcessGroupGloo(meeting.prefixed("rounds"), rank, world_size, limit)

    def gather(self, report: Report) -> list[Report]:
        """Every rank's report, in rank order."""
        table = [_buffer("", REPORT_BYTES) for _ in range(self._world_size)]
        with self._naming_the_lost(f"reports step {report.step}"):
            self._group.allgather([table], [_buffer(report.to_text(), REPORT_BYTES)]).wait()
        return [Report.from_text(_text(row)) for row in table]

    def broadcast(self, text: str, step: int) -> str:
        """Rank 0's text on the decision of a step, on all ranks."""
        buffer = _buffer(text, DECISION_BYTES)
        with self._naming_the_lost(f"waits for the decision on step {step}"):
            self._group.broadcast(buffer, 0).wait()
        return _text(buffer)

    def close(self) -> None:
        """Let go of the other ranks; they miss this one in their next round."""
        self._group, self._lost = None, self._lost or "the connection to the other ranks was closed"
        self._meeting.leave()

    @contextmanager
    def _naming_the_lost(self, activity: str) -> Iterator[None]:
        if self._lost:
            raise RankLostError(self._lost)
        try:
            yield
        except RuntimeError as error:  # whatever gloo meets: a closed connection, the time limit
            self._group = None  # closes our connections, so that ranks that wait for us hear of it at once
            self._lost = f"{self._meeting.roll_call(activity)} ({str(error).splitlines()[0][:120]})"
            raise RankLostError(self._lost) from error


def _buffer(text: str, size: int) -> Tensor:
    """A text as bytes, filled up with zeros, which JSON has none of."""
    return torch.frombuffer(bytearray(text.encode().ljust(size, b"\0")), dtype=torch.uint8)


def _text(buffer: Tensor) -> str:
    return bytes(buffer.numpy()).rstrip(b"\0").decode()
