"""The ranks of one run: one gather and one broadcast a step, over a process group that is theirs alone.

The group moves CPU tensors (gloo) and has a store and a time limit of its own, so it works beside a default group of
any kind (gloo, or nccl, which moves GPU tensors only), and goes on when that one is destroyed and made anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # public, though not re-exported

from maxent_ray.errors import RankLostError
from maxent_ray.runtime.meeting import PATIENCE, Meeting
from maxent_ray.runtime.reduction import Report

_ROLL_CALL_SHARE, _LONGEST_ROLL_CALL_S = 0.2, 5.0
"""Of the time limit: what is kept for finding out who is missing."""
_PIECE, _HEADER = 4096, 8
"""Bytes of a piece of a message, and of the message's length at its head."""


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
    """Ranks in processes of their own.

    Args:
        store: Served by rank 0; all ranks are connected to it.
        rank: This process's rank.
        world_size: Ranks of the run.
        timeout_s: Within this time a rank that dies or hangs is an error on all others.

    Raises:
        RankLostError: a rank left; names it. So do all methods, and every later call then.
    """

    def __init__(self, store: Store, rank: int, world_size: int, timeout_s: float) -> None:
        self._meeting = Meeting(store, rank, world_size)
        self._world_size = world_size
        self._roll_call_s = min(_LONGEST_ROLL_CALL_S, _ROLL_CALL_SHARE * timeout_s)
        self._lost = ""
        self._group: Any = None  # a ProcessGroupGloo, or None
        with self._naming_the_lost("connects"):
            limit = timedelta(seconds=timeout_s - PATIENCE * self._roll_call_s)
            self._group = dist.ProcessGroupGloo(PrefixStore("rounds", store), rank, world_size, limit)

    def gather(self, report: Report) -> list[Report]:
        """Every rank's report, in rank order."""
        own = _framed(report.to_text())
        with self._naming_the_lost(f"reports step {report.step}"):
            received = self._gather(own[:_PIECE])
            sizes = [int.from_bytes(each[:_HEADER], "little") + _HEADER for each in received]
            for start in range(_PIECE, max(sizes), _PIECE):
                more = self._gather(own[start : start + _PIECE])
                received = [before + piece for before, piece in zip(received, more, strict=True)]
        texts = (each[_HEADER:size].decode() for each, size in zip(received, sizes, strict=True))
        return [Report.from_text(text) for text in texts]

    def broadcast(self, text: str, step: int) -> str:
        """Rank 0's text on the decision of a step, on all ranks."""
        own = _framed(text)
        with self._naming_the_lost(f"waits for the decision on step {step}"):
            received = self._broadcast(own[:_PIECE])
            size = int.from_bytes(received[:_HEADER], "little") + _HEADER
            for start in range(_PIECE, size, _PIECE):
                received += self._broadcast(own[start : start + _PIECE])
        return received[_HEADER:size].decode()

    def close(self) -> None:
        """Let go of the other ranks; they miss this one in their next round."""
        self._group, self._lost = None, self._lost or "the connection to the other ranks was closed"

    def _gather(self, piece: bytes) -> list[bytes]:
        table = [_buffer() for _ in range(self._world_size)]
        self._group.allgather([table], [_buffer(piece)]).wait()
        return [bytes(row.numpy()) for row in table]

    def _broadcast(self, piece: bytes) -> bytes:
        buffer = _buffer(piece)
        self._group.broadcast(buffer, 0).wait()
        return bytes(buffer.numpy())

    @contextmanager
    def _naming_the_lost(self, place: str) -> Iterator[None]:
        if self._lost:
            raise RankLostError(self._lost)
        try:
            yield
        except RuntimeError as error:  # whatever gloo meets: a closed connection, the time limit
            self._group = None  # closes our connections, so that ranks that wait for us hear of it at once
            try:
                found = self._meeting.convene("roll call", place, _roll_call, self._roll_call_s)["found"]
            except RankLostError as lost:
                found = str(lost)
            self._lost = f"{found} ({str(error).splitlines()[0][:120]})"
            raise RankLostError(self._lost) from error


def _framed(text: str) -> bytes:
    content = text.encode()
    return len(content).to_bytes(_HEADER, "little") + content


def _buffer(content: bytes = b"") -> Tensor:
    return torch.frombuffer(bytearray(content.ljust(_PIECE, b"\0")), dtype=torch.uint8)


def _roll_call(lines: Sequence[Any | None]) -> dict[str, Any]:
    missing = [str(rank) for rank, place in enumerate(lines) if place is None]
    if missing:
        several = len(missing) > 1
        return {"found": f"rank{'s' * several} {', '.join(missing)} of {len(lines)} died or hang{'s' * (not several)}"}
    places = {place: f"rank {rank} {place}" for rank, place in reversed(list(enumerate(lines)))}
    return {"found": f"the ranks have parted, though all are there: {', '.join(reversed(places.values()))}"}
