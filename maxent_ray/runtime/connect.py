"""Connect a rank to the other ranks of its run and to the run's controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch.distributed as dist

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.validation import check_whole
from maxent_ray.errors import ConfigError, MaxentRayError, RankLostError
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.collective import GlooCollective, LocalCollective
from maxent_ray.runtime.deciders import ActorDecider, LocalDecider
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.rank_store import RankStore, name_ranks
from maxent_ray.runtime.rendezvous import rendezvous_over_actor, rendezvous_over_group
from maxent_ray.runtime.run_tags import RunTags

NAMESPACE = "maxent_ray"
"""Ray namespace of all controllers: a submitted job's own is random."""
LONGEST_RUN_ID = 200


def connect(
    run_id: str,
    rank: int,
    world_size: int,
    config: ControllerConfig,
    *,
    options: ClientOptions = ClientOptions(),
    group: dist.ProcessGroup | None = None,
    local: bool = False,
    namespace: str = NAMESPACE,
    actor: Any = None,
    tags: RunTags | None = None,
) -> ControllerClient:
    """Connect one rank to the run's controller; all ranks of the run call it.

    Rank 0 creates the controller's actor. The ranks' rendezvous is over ``group``, else torch.distributed's default
    group, of any backend, else the actor; then they form a small gloo group of their own. A ``run_id`` that a live run
    of the cluster has already is made unique, and a warning is logged (``client.run_id`` is the name in use); it is an
    error where the rendezvous is over the actor and both runs are in one job and placement group. So runs of one name,
    as of two drivers, never share a controller.

    Args:
        run_id: Names the run, in logs, metrics and the actor's name; at most 200 characters.
        rank: This worker's rank, 0 … world_size − 1.
        world_size: Ranks of the run.
        config: The controller's settings, the same on all ranks.
        options: Lag, time limits, and what to do without the actor; the same on all ranks.
        group: A process group of these ranks, for the rendezvous.
        local: Decide in rank 0's process, without Ray; several ranks then need a process group.
        namespace: Ray namespace of the actor.
        actor: A controller's actor that serves several runs in turn, given to all ranks; None: one for this run.
        tags: Of the run's metrics; None for its ``run_id`` as run and trial, and the objective's name.

    Raises:
        ConfigError: an argument is out of range, Ray is not running, or ranks' arguments differ (then on all of them).
        ControllerUnavailableError: rank 0 cannot be found, or the actor's process does not start.
        RankLostError: a rank did not connect within ``options.round_timeout_s``, or left; names it.

    Example:
        >>> config = ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05)
        >>> client = connect("my-run", rank=0, world_size=1, config=config, local=True)
        >>> client.coefficients(0).beta
        0.1
    """
    rank = check_whole(rank, "rank", ConfigError)
    world_size = check_whole(world_size, "world_size", ConfigError)
    _check_arguments(run_id, rank, world_size)
    name = run_id
    decider: LocalDecider | None = None
    if rank == 0 and local:
        decider = LocalDecider()
    elif rank == 0:
        from maxent_ray.runtime.actor import create_controller  # loads Ray

        actor, name = (actor, run_id) if actor is not None else create_controller(run_id, namespace)
        decider = ActorDecider(name, actor, options, lambda: create_controller(name, namespace, wait=False)[0])
    collective = LocalCollective()
    if world_size > 1:
        store, most = _rendezvous(run_id, rank, world_size, group, local, namespace, actor, options.round_timeout_s)
        try:
            name = _compare_arguments(store, most, name, rank, world_size, config, options)
            collective = GlooCollective(store, rank, world_size, options.round_timeout_s)
        except MaxentRayError:
            store.close()
            raise
    return ControllerClient(name, rank, config, collective, decider, options, tags)


def _check_arguments(run_id: str, rank: int, world_size: int) -> None:
    if not run_id.strip():
        raise ConfigError(f"run_id is {run_id!r}; it must name the run")
    if len(run_id) > LONGEST_RUN_ID:
        raise ConfigError(f"run_id has {len(run_id)} characters; it must have at most {LONGEST_RUN_ID}")
    if world_size < 1:
        raise ConfigError(f"world_size is {world_size}; it must be >= 1")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank is {rank}; it must be in [0, {world_size}), the world size")


def _rendezvous(
    run_id: str,
    rank: int,
    world_size: int,
    group: dist.ProcessGroup | None,
    local: bool,
    namespace: str,
    actor: Any,
    timeout_s: float,
) -> tuple[RankStore, int]:
    """Connection to the store of the run's ranks, and the number of ranks that can connect to it."""
    if group is None and dist.is_available() and dist.is_initialized():
        group = dist.group.WORLD
    if group is not None:
        return rendezvous_over_group(group, run_id, rank, world_size, timeout_s), dist.get_world_size(group)
    if local:
        raise ConfigError(
            f"world_size is {world_size} with local=True: several ranks need a process group; call "
            "torch.distributed.init_process_group() first, or pass group="
        )
    from maxent_ray.runtime.actor import live_controllers  # loads Ray

    def actors() -> list[Any]:
        live = live_controllers(run_id, namespace)
        return [actor, *(other for other in live if other != actor)] if actor is not None else list(live)

    return rendezvous_over_actor(actors, run_id, rank, world_size, timeout_s), world_size


def _compare_arguments(
    store: RankStore,
    most: int,
    name: str,
    rank: int,
    world_size: int,
    config: ControllerConfig,
    options: ClientOptions,
) -> str:
    """Name of the run on rank 0, once all ranks have connected with the same arguments."""
    limit = options.round_timeout_s
    in_force = {"tau": config.initial("tau"), "tau_min": config.bounds("tau")[0]}
    own = {"world_size": world_size, "lag": options.lag, "round_timeout_s": limit, **asdict(config), **in_force}

    def differences(arguments: Mapping[int, Any]) -> list[str]:
        if 0 not in arguments:
            return []
        first = arguments[0]["arguments"]
        return [
            f"{name} is {first[name]!r} on rank 0 and {each['arguments'].get(name)!r} on rank {other}"
            for other, each in sorted(arguments.items())
            for name in first
            if first[name] != each["arguments"].get(name)
        ]

    def enough(arguments: Mapping[int, Any]) -> bool:
        return bool(differences(arguments)) or len(arguments) == most

    arguments = store.exchange("arguments", {"name": name, "arguments": own}, limit, enough)
    if differences(arguments):
        found = "; ".join(differences(arguments))
        raise ConfigError(f"run {name!r}: {found}; all ranks must connect with the same arguments")
    missing = [other for other in range(world_size) if other not in arguments]
    if missing and most < world_size:
        raise ConfigError(f"run {name!r}: world_size is {world_size}, but the process group has {most} ranks")
    if missing:
        raise RankLostError(f"run {name!r}: {name_ranks(missing, world_size)} did not connect within {limit:g} s")
    return str(arguments[0]["name"])
