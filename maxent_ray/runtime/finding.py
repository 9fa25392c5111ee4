"""The ranks of one run find each other: they reach a store that rank 0 serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import torch.distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # public, though not re-exported

from maxent_ray.errors import ConfigError, ControllerUnavailableError, RankLostError
from maxent_ray.runtime.meeting import Meeting

_STORE_TIMEOUT_S, _CALL_TIMEOUT_S, _POLL_S = 10.0, 5.0, 0.1


def meet_over_group(group: dist.ProcessGroup, run_id: str, rank: int, world_size: int, timeout_s: float) -> Meeting:
    """Meet the other ranks, who hear of rank 0's store through the one that their group was formed in.

    Raises:
        ConfigError: this process has another rank in the group.
        RankLostError: rank 0 did not come.
    """
    if dist.get_rank(group) != rank:
        raise ConfigError(
            f"this process was asked for as rank {rank} of {world_size}, but is rank {dist.get_rank(group)} of "
            f"{dist.get_world_size(group)} in its process group; give group= the one of the run's ranks"
        )
    shared: Store = dist.distributed_c10d._world.pg_map[group][1]  # there is no public way to it
    time_around = shared.add(f"maxent_ray/times/{rank}/{run_id}", 1)  # a group may meet more than once
    key = f"maxent_ray/address/{time_around}/{run_id}"
    if rank == 0:
        store = _serve()
        shared.set(key, _address(store))
        return _meeting(store, rank, world_size)
    try:
        shared.wait([key], timedelta(seconds=timeout_s))
    except RuntimeError:  # the time is up, or the store is gone
        raise RankLostError(f"run {run_id!r}: rank 0 of {world_size} did not connect within {timeout_s:g} s") from None
    return _meeting(_reach(shared.get(key).decode()), rank, world_size)


def meet_over_actor(
    actors: Callable[[], Iterable[Any]], run_id: str, rank: int, world_size: int, timeout_s: float
) -> Meeting:
    """Meet the other ranks, who hear of rank 0's store from the run's actor.

    Args:
        actors: Gives the run's actor; on other ranks than 0 those that may be it.
        run_id: As it was asked for, on all ranks alike.
        rank: This process's rank.
        world_size: Ranks of the run.
        timeout_s: How long to look for rank 0.

    Raises:
        ConfigError: the run cannot be told from another live one.
        ControllerUnavailableError: rank 0 cannot be found.
    """
    import ray

    context = ray.get_runtime_context()
    topic = f"{run_id}@{context.get_job_id()}/{context.get_placement_group_id() or ''}"  # tells runs of one name apart
    if rank == 0:
        own, *others = actors()
        if any(ray.get([other.is_open.remote(topic) for other in others], timeout=_CALL_TIMEOUT_S)):
            raise ConfigError(
                f"run {run_id!r}: a live run of this name is in the same job and placement group, and ranks could not "
                "tell the two apart; give this one another name, or its ranks' process group (group=)"
            )
        store = _serve()
        ray.get(own.publish.remote(topic, _address(store)), timeout=_CALL_TIMEOUT_S)
        return _meeting(store, rank, world_size)
    deadline, who = time.monotonic() + timeout_s, uuid4().hex
    while time.monotonic() < deadline:
        for actor in actors():
            found = _ask(actor, topic, rank, who)
            if found is not None:
                return _meeting(found, rank, world_size)
        time.sleep(_POLL_S)
    raise ControllerUnavailableError(f"run {run_id!r}, rank {rank}: rank 0 did not connect within {timeout_s:g} s")


def _ask(actor: Any, topic: str, rank: int, who: str) -> Store | None:
    """The store of an actor's run, if that is this rank's and can be reached."""
    import ray

    try:
        address = ray.get(actor.address.remote(topic, rank, who), timeout=_CALL_TIMEOUT_S)
        return None if address is None else _reach(address)
    except (ray.exceptions.RayError, RuntimeError):  # the actor of a dying run, or its store
        return None


def _serve() -> Store:
    return TCPStore("0.0.0.0", 0, is_master=True, wait_for_workers=False)


def _reach(address: str) -> Store:
    host, _, port = address.rpartition(":")
    return TCPStore(host, int(port), is_master=False, timeout=timedelta(seconds=_STORE_TIMEOUT_S))


def _address(store: Any) -> str:
    import ray.util

    return f"{ray.util.get_node_ip_address()}:{store.port}"


def _meeting(store: Any, rank: int, world_size: int) -> Meeting:
    return Meeting(store, _reach(f"{store.host if rank else '127.0.0.1'}:{store.port}"), rank, world_size)
