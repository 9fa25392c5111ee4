"""Ranks come together in a store of torch.distributed: before their first round, and when one of them has failed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from threading import Thread
from typing import Any

import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]  # public, though not re-exported

from maxent_ray.errors import RankLostError

PATIENCE = 1.25
"""How many times as long as rank 0 the others wait: it answers when its own time is up."""
_POLL_S = 1.0

Judge = Callable[[Sequence[Any | None]], Mapping[str, Any]]
"""Makes the verdict of what each rank says; None: nothing, in the time that there was."""


class Meeting:
    """Every rank leaves a line, rank 0 reads them all, and everyone gets its verdict.

    Args:
        store: Served by rank 0; all ranks are connected to it.
        rank: This process's rank.
        world_size: Ranks of the run.
    """

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self._store = store
        self._rank = rank
        self._world_size = world_size

    def convene(
        self, topic: str, line: Any, judge: Judge, timeout_s: float, tell: Callable[[], object] = lambda: None
    ) -> Mapping[str, Any]:
        """The verdict on what all ranks say; every rank calls it, once a topic.

        Args:
            topic: Names the occasion.
            line: What this rank says; like the verdict anything that JSON can hold.
            judge: Called on rank 0.
            timeout_s: How long rank 0 waits for the others' lines.
            tell: Called on rank 0 about once a second while it waits.

        Raises:
            RankLostError: rank 0, which serves the store, died or hangs.
        """
        if self._rank == 0:
            self._put(f"{topic}/0", line)
            return self._judge(topic, judge, timeout_s, tell)
        found: list[Mapping[str, Any]] = []
        # In a thread: where the server hangs, calls do not return, whatever time limit they have.
        talk = Thread(target=self._ask, args=(topic, line, timeout_s * PATIENCE, found), daemon=True)
        talk.start()
        talk.join(timeout_s * PATIENCE)
        if not found:
            raise RankLostError("rank 0 died or hangs")
        return found[0]

    def _ask(self, topic: str, line: Any, seconds: float, found: list[Mapping[str, Any]]) -> None:
        try:
            self._put(f"{topic}/{self._rank}", line)
            self._store.wait([f"{topic}/verdict"], timedelta(seconds=seconds))
            found.append(self._get(f"{topic}/verdict"))
            self._put(f"{topic}/read/{self._rank}", True)
        except RuntimeError:  # what torch.distributed raises of its store: it is gone, or the time is up
            return

    def _judge(self, topic: str, judge: Judge, timeout_s: float, tell: Callable[[], object]) -> Mapping[str, Any]:
        places = [f"{topic}/{rank}" for rank in range(self._world_size)]
        self._await(places, timeout_s, tell)
        lines = [self._get(place) if self._store.check([place]) else None for place in places]
        verdict = judge(lines)
        self._put(f"{topic}/verdict", verdict)
        readers = [f"{topic}/read/{rank}" for rank, line in enumerate(lines) if line is not None and rank > 0]
        self._await(readers, min(_POLL_S, timeout_s))  # before rank 0 goes, as it may now, and takes the store along
        return verdict

    def _await(self, places: list[str], timeout_s: float, tell: Callable[[], object] = lambda: None) -> None:
        """Wait until all places are filled, or the time is up."""
        deadline = time.monotonic() + timeout_s
        while places and (left := deadline - time.monotonic()) > 0 and not self._store.check(places):
            tell()
            try:
                self._store.wait(places, timedelta(seconds=max(min(left, _POLL_S), 0.01)))
            except dist.DistStoreError:  # not yet
                continue

    def _put(self, place: str, value: Any) -> None:
        self._store.set(place, json.dumps(value))

    def _get(self, place: str) -> Any:
        return json.loads(self._store.get(place))
