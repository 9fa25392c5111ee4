"""Store shared by the ranks of one run, served by rank 0: values that they exchange, and a heartbeat of each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # public, though not re-exported

from maxent_ray.errors import RankLostError

HEARTBEAT_S, SILENT_S = 0.5, 3.0
"""Seconds between heartbeats, and seconds without one that mean that a rank died or hangs."""
_POLL_S, _LINGER_S = 0.02, 5.0


class RankStore:
    """One rank's connection to the store of its run, a ``torch.distributed`` store.

    Args:
        store: Connection of this rank alone.
        heartbeat: Another connection, for the heartbeat.
        rank: This process's rank.
        world_size: Ranks of the run.
    """

    def __init__(self, store: Store, heartbeat: Store, rank: int, world_size: int) -> None:
        self._store = store
        self._rank = rank
        self._world_size = world_size
        self._closed = Event()
        Thread(target=self._beat, args=(heartbeat,), name="maxent-ray-heartbeat", daemon=True).start()

    def exchange(
        self, topic: str, value: Any, timeout_s: float, enough: Callable[[Mapping[int, Any]], bool] = lambda _: False
    ) -> dict[int, Any]:
        """Exchange one value a rank; every rank calls it, once a topic.

        Args:
            topic: Names the exchange.
            value: This rank's; anything that JSON can hold.
            timeout_s: Seconds to wait for the others' values.
            enough: True for values that need no further ones; ends the wait.

        Returns:
            Rank → value, of the ranks that came in time.

        Raises:
            RankLostError: rank 0, which serves the store, died or hangs.
        """

        def gather() -> dict[int, Any]:
            own = json.dumps([self._rank, value])
            self._store.append(topic, f"{own}\n")  # type: ignore[attr-defined]  # torch's stubs lack it
            self._store.add(f"{topic}/count", 1)
            deadline = time.monotonic() + timeout_s
            values: dict[int, Any] = {}
            while True:
                if self._store.add(f"{topic}/count", 0) > len(values):
                    values = dict(map(json.loads, self._store.get(topic).splitlines()))
                if len(values) == self._world_size or enough(values) or time.monotonic() > deadline:
                    self._store.set(f"{topic}/read/{self._rank}", "")
                    return values
                time.sleep(_POLL_S)

        values: dict[int, Any] = self._with_timeout(gather, timeout_s + SILENT_S)
        if self._rank == 0:  # the store ends with rank 0, which may be about to close
            readers = [f"{topic}/read/{rank}" for rank in values]
            deadline = time.monotonic() + _LINGER_S
            while not self._store.check(readers) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        return values

    def roll_call(self, activity: str) -> str:
        """Name the ranks that failed to join a collective call; every rank calls it and waits at most SILENT_S.

        Args:
            activity: The call that this rank waits in.
        """
        try:
            before = self._with_timeout(self._heartbeats, SILENT_S)
            present = self.exchange("roll call", activity, SILENT_S)
            after = self._with_timeout(self._heartbeats, SILENT_S)
        except RankLostError as error:
            return str(error)
        absent = [rank for rank in range(self._world_size) if rank not in present]
        silent = [rank for rank in absent if before[rank] == after[rank]]
        if silent:
            return f"{name_ranks(silent, self._world_size)} died or hang{'s' * (len(silent) == 1)}"
        if absent:
            return f"{name_ranks(absent, self._world_size)} did not come, still busy with a step, or hanging in it"
        calls = {call: f"rank {rank} {call}" for rank, call in sorted(present.items(), reverse=True)}
        return f"ranks wait in different calls: {', '.join(reversed(calls.values()))}"

    def close(self) -> None:
        """End the heartbeat."""
        self._closed.set()

    def prefixed(self, name: str) -> Store:
        """The store under a prefix, for another use."""
        return PrefixStore(name, self._store)

    def _beat(self, store: Store) -> None:
        with suppress(RuntimeError):  # of torch.distributed: the store is gone
            while not self._closed.wait(HEARTBEAT_S):
                store.add(f"heartbeat/{self._rank}", 1)

    def _heartbeats(self) -> list[int]:
        return [int(self._store.add(f"heartbeat/{rank}", 0)) for rank in range(self._world_size)]

    def _with_timeout(self, call: Callable[[], Any], seconds: float) -> Any:
        """Result of calls to the store; in a thread, as they never return where the server hangs."""
        results: list[Any] = []

        def run() -> None:
            with suppress(RuntimeError):
                results.append(call())

        thread = Thread(target=run, daemon=True)
        thread.start()
        thread.join(seconds)
        if not results:
            raise RankLostError("rank 0 died or hangs")
        return results[0]


def name_ranks(ranks: Sequence[int], world_size: int) -> str:
    """Ranks as error messages name them.

    Example:
        >>> name_ranks([1], 4), name_ranks([1, 3], 4)
        ('rank 1 of 4', 'ranks 1, 3 of 4')
    """
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))} of {world_size}"
