"""The ranks of one run find each other: they reach a store that rank 0 serves."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # public, though not re-exported

from maxent_ray.errors import ConfigError, ControllerUnavailableError

_STORE_TIMEOUT_S, _CALL_TIMEOUT_S, _POLL_S = 10.0, 5.0, 0.05


def find_store(
    run_id: str,
    rank: int,
    world_size: int,
    actors: Callable[[], Iterable[Any]] | None,
    group: dist.ProcessGroup | None,
    timeout_s: float,
) -> tuple[Store, Callable[[], object]]:
    """Find rank 0's store, over a process group or else over the run's actor.

    Args:
        run_id: As it was asked for, on all ranks alike.
        rank: This process's rank.
        world_size: Ranks of the run.
        actors: Gives the run's actor; on other ranks than 0 those that may be it. None: there is none.
        group: One that was handed in; None: torch.distributed's default one, where it fits and moves CPU tensors.
        timeout_s: How long to look for rank 0.

    Returns:
        The store, and what rank 0 does again and again while it waits there for the others.

    Raises:
        ConfigError: the group has other ranks, or there is neither group nor actor.
        ControllerUnavailableError: rank 0 cannot be found.
    """
    over = _default_group(rank, world_size) if group is None else _checked(group, rank, world_size)
    if over is None and actors is None:
        raise ConfigError(
            f"world_size is {world_size} with local=True: ranks need a process group to find each other over; call "
            "torch.distributed.init_process_group() first, or give group="
        )
    store = TCPStore("0.0.0.0", 0, is_master=True, wait_for_workers=False) if rank == 0 else None
    address = None if store is None else f"{_node_address()}:{store.port}"
    if over is not None:
        told = [address]
        dist.broadcast_object_list(told, group=over, group_src=0)
        return store or _reach(str(told[0])), lambda: None
    assert actors is not None
    meeting = f"{run_id}@{_scope()}"
    if store is not None:
        (actor,) = actors()
        return store, lambda: actor.publish.remote(meeting, address)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = next(filter(None, (_ask(actor, meeting, rank) for actor in actors())), None)
        if found is not None:
            return found, lambda: None
        time.sleep(_POLL_S)
    raise ControllerUnavailableError(f"run {run_id!r}, rank {rank}: rank 0 did not connect within {timeout_s:g} s")


def _checked(group: dist.ProcessGroup, rank: int, world_size: int) -> dist.ProcessGroup:
    found = (dist.get_rank(group), dist.get_world_size(group))
    if found != (rank, world_size):
        raise ConfigError(
            f"this process was asked for as rank {rank} of {world_size}, but is rank {found[0]} of {found[1]} in the "
            "process group"
        )
    return group


def _default_group(rank: int, world_size: int) -> dist.ProcessGroup | None:
    if not (dist.is_available() and dist.is_initialized()):
        return None
    fits = (dist.get_rank(), dist.get_world_size()) == (rank, world_size)
    moves_cpu_tensors = any(part.startswith("cpu:") for part in dist.get_backend_config().split(","))
    return dist.group.WORLD if fits and moves_cpu_tensors else None


def _node_address() -> str:
    """Where other machines reach this one."""
    import ray
    import ray.util

    return ray.util.get_node_ip_address() if ray.is_initialized() else socket.gethostbyname(socket.gethostname())


def _scope() -> str:
    """What tells runs of one name apart: their job, and the placement group of their ranks."""
    import ray

    context = ray.get_runtime_context()
    return f"{context.get_job_id()}/{context.get_placement_group_id() or ''}"


def _ask(actor: Any, meeting: str, rank: int) -> Store | None:
    """The store of an actor's run, if that is this rank's and can be reached."""
    import ray
    from ray.exceptions import RayError

    try:
        address = ray.get(actor.address.remote(meeting, rank), timeout=_CALL_TIMEOUT_S)
        return None if address is None else _reach(address)
    except (RayError, RuntimeError):  # the actor of a dying run, or its store
        return None


def _reach(address: str) -> TCPStore:
    host, _, port = address.rpartition(":")
    return TCPStore(host, int(port), is_master=False, timeout=timedelta(seconds=_STORE_TIMEOUT_S))
