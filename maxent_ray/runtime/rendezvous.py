"""Rendezvous of a run's ranks: all of them connect to a store that rank 0 serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch.distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # public, though not re-exported

from maxent_ray.errors import ConfigError, ControllerUnavailableError, RankLostError
from maxent_ray.runtime.rank_store import RankStore

_STORE_TIMEOUT_S, _CALL_TIMEOUT_S, _POLL_S = 10.0, 5.0, 0.1


def rendezvous_over_group(
    group: dist.ProcessGroup, run_id: str, rank: int, world_size: int, timeout_s: float
) -> RankStore:
    """Connect to rank 0's store, whose address passes through the store that the process group was formed in.

    Raises:
        ConfigError: this process has another rank in the group.
        RankLostError: rank 0 did not connect within ``timeout_s``.
    """
    if dist.get_rank(group) != rank:
        raise ConfigError(
            f"rank is {rank} of {world_size}, but this process is rank {dist.get_rank(group)} of "
            f"{dist.get_world_size(group)} in its process group; pass the process group of the run's ranks as group="
        )
    shared: Store = dist.distributed_c10d._world.pg_map[group][1]  # no public API has it
    attempt = shared.add(f"maxent_ray/times/{rank}/{run_id}", 1)  # a group may connect more than once
    key = f"maxent_ray/address/{attempt}/{run_id}"
    if rank == 0:
        store = _serve()
        shared.set(key, _address(store))
        return _rank_store(store, rank, world_size)
    try:
        shared.wait([key], timedelta(seconds=timeout_s))
    except RuntimeError:  # the time is up, or the store is gone
        raise RankLostError(f"run {run_id!r}: rank 0 of {world_size} did not connect within {timeout_s:g} s") from None
    return _rank_store(_connect(shared.get(key).decode()), rank, world_size)


def rendezvous_over_actor(
    actors: Callable[[], Iterable[Any]], run_id: str, rank: int, world_size: int, timeout_s: float
) -> RankStore:
    """Connect to rank 0's store, whose address passes through the run's actor.

    Args:
        actors: The run's actor; on other ranks than 0, the candidates for it.
        run_id: As given to ``connect``, the same on all ranks.
        rank: This process's rank.
        world_size: Ranks of the run.
        timeout_s: Seconds to look for rank 0.

    Raises:
        ConfigError: the run cannot be distinguished from another live one.
        ControllerUnavailableError: rank 0 cannot be found.
    """
    import ray

    context = ray.get_runtime_context()
    # distinguishes runs of one name
    topic = f"{run_id}@{context.get_job_id()}/{context.get_placement_group_id() or ''}"
    if rank == 0:
        own = next(iter(actors()))
        # before the question to the others: of two runs that start at once, one at least hears of the other
        ray.get(own.reserve.remote(topic), timeout=_CALL_TIMEOUT_S)
        if any(_has_run(other, topic) for other in list(actors())[1:]):
            raise ConfigError(
                f"run {run_id!r}: a live run of this name is in the same job and placement group, and ranks cannot "
                "distinguish the two; choose another run_id, or pass the ranks' process group (group=)"
            )
        store = _serve()
        ray.get(own.publish.remote(topic, _address(store)), timeout=_CALL_TIMEOUT_S)
        return _rank_store(store, rank, world_size)
    deadline, asker = time.monotonic() + timeout_s, uuid4().hex
    while time.monotonic() < deadline:
        for actor in actors():
            found = _find_store(actor, topic, rank, asker)
            if found is not None:
                return _rank_store(found, rank, world_size)
        time.sleep(_POLL_S)
    raise ControllerUnavailableError(f"run {run_id!r}, rank {rank}: rank 0 did not connect within {timeout_s:g} s")


def _has_run(actor: Any, topic: str) -> bool:
    """True when the actor serves ranks that would look for the same topic; one that is about to end does not."""
    import ray

    try:
        return bool(ray.get(actor.has_run.remote(topic), timeout=_CALL_TIMEOUT_S))
    except ray.exceptions.RayError:
        return False


def _find_store(actor: Any, topic: str, rank: int, asker: str) -> Store | None:
    """Connection to the store of an actor's run, if that is this rank's run and can be reached."""
    import ray

    try:
        address = ray.get(actor.address.remote(topic, rank, asker), timeout=_CALL_TIMEOUT_S)
        return None if address is None else _connect(address)
    except (ray.exceptions.RayError, RuntimeError):  # the actor of a dying run, or its store
        return None


def _serve() -> Store:
    return TCPStore("0.0.0.0", 0, is_master=True, wait_for_workers=False)


def _connect(address: str) -> Store:
    host, _, port = address.rpartition(":")
    return TCPStore(host, int(port), is_master=False, timeout=timedelta(seconds=_STORE_TIMEOUT_S))


def _address(store: Any) -> str:
    import ray.util

    return f"{ray.util.get_node_ip_address()}:{store.port}"


def _rank_store(store: Any, rank: int, world_size: int) -> RankStore:
    return RankStore(store, _connect(f"{store.host if rank else '127.0.0.1'}:{store.port}"), rank, world_size)
