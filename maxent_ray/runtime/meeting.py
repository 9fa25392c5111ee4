"""Ranks meet in a store of torch.distributed that rank 0 serves: they leave lines there, and a pulse while alive."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # public, though not re-exported

from maxent_ray.errors import RankLostError

BEAT_S, SILENT_S = 0.5, 3.0
"""Seconds between two beats of a pulse, and without one after which a rank died or hangs."""
_POLL_S, _LINGER_S = 0.02, 5.0


class Meeting:
    """One rank's place among the ranks of a run.

    Args:
        store: Served by rank 0, a connection of this rank's own.
        pulse: Another connection to it.
        rank: This process's rank.
        world_size: Ranks of the run.
    """

    def __init__(self, store: Store, pulse: Store, rank: int, world_size: int) -> None:
        self._store = store
        self._rank = rank
        self._world_size = world_size
        self._left = Event()
        Thread(target=self._beat, args=(pulse,), name="maxent-ray-pulse", daemon=True).start()

    def lines(
        self, topic: str, line: Any, timeout_s: float, enough: Callable[[Mapping[int, Any]], bool] = lambda _: False
    ) -> dict[int, Any]:
        """Rank → what it says, of those who say it in time; every rank calls it, once a topic.

        Args:
            topic: Names the occasion.
            line: What this rank says; anything that JSON can hold.
            timeout_s: How long to wait for the others' lines.
            enough: Whether these lines are enough to go on without waiting for the rest.

        Raises:
            RankLostError: rank 0, which serves the store, died or hangs.
        """

        def listen() -> dict[int, Any]:
            own = json.dumps([self._rank, line])
            self._store.append(topic, f"{own}\n")  # type: ignore[attr-defined]  # torch's stubs lack it
            self._store.add(f"{topic}/count", 1)
            deadline = time.monotonic() + timeout_s
            heard: dict[int, Any] = {}
            while True:
                if self._store.add(f"{topic}/count", 0) > len(heard):
                    heard = dict(map(json.loads, self._store.get(topic).splitlines()))
                if len(heard) == self._world_size or enough(heard) or time.monotonic() > deadline:
                    self._store.set(f"{topic}/heard/{self._rank}", "")
                    return heard
                time.sleep(_POLL_S)

        heard: dict[int, Any] = self._of_store(listen, timeout_s + SILENT_S)
        if self._rank == 0:  # the store goes with rank 0, which may be about to leave
            readers = [f"{topic}/heard/{rank}" for rank in heard]
            deadline = time.monotonic() + _LINGER_S
            while not self._store.check(readers) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        return heard

    def roll_call(self, activity: str) -> str:
        """Name the ranks that keep the others from coming together; every rank does it for itself, in SILENT_S.

        Args:
            activity: What this rank was about to do.
        """
        try:
            before = self._of_store(self._pulses, SILENT_S)
            heard = self.lines("roll call", activity, SILENT_S)
            after = self._of_store(self._pulses, SILENT_S)
        except RankLostError as error:
            return str(error)
        absent = [rank for rank in range(self._world_size) if rank not in heard]
        silent = [rank for rank in absent if before[rank] == after[rank]]
        if silent:
            return f"{named(silent, self._world_size)} died or hang{'s' * (len(silent) == 1)}"
        if absent:
            return f"{named(absent, self._world_size)} did not come, still busy with a step, or hanging in it"
        calls = {said: f"rank {rank} {said}" for rank, said in sorted(heard.items(), reverse=True)}
        return f"ranks wait in different calls: {', '.join(reversed(calls.values()))}"

    def leave(self) -> None:
        """End the pulse and let go of the store."""
        self._left.set()

    def prefixed(self, name: str) -> Store:
        """The store, for keys of another use."""
        return PrefixStore(name, self._store)

    def _beat(self, pulse: Store) -> None:
        with suppress(RuntimeError):  # what torch.distributed raises of its store: it is gone
            while not self._left.wait(BEAT_S):
                pulse.add(f"pulse/{self._rank}", 1)

    def _pulses(self) -> list[int]:
        return [int(self._store.add(f"pulse/{rank}", 0)) for rank in range(self._world_size)]

    def _of_store(self, call: Callable[[], Any], seconds: float) -> Any:
        """The result of calls to the store; in a thread, as they never return where the server hangs."""
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


def named(ranks: Sequence[int], world_size: int) -> str:
    """Ranks as messages name them.

    Example:
        >>> named([1], 4), named([1, 3], 4)
        ('rank 1 of 4', 'ranks 1, 3 of 4')
    """
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))} of {world_size}"
