"""Connect a rank to the other ranks of its run and to the run's controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch.distributed as dist

from maxent_ray.core.config import ControllerConfig
from maxent_ray.errors import ConfigError, MaxentRayError, RankLostError
from maxent_ray.runtime.asking import ActorDecider, LocalDecider
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.finding import meet_over_actor, meet_over_group
from maxent_ray.runtime.meeting import Meeting, named
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.ranks import GlooRanks, SingleRank

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
) -> ControllerClient:
    """Connect one rank to the run's controller; all ranks of the run call it.

    Rank 0 creates the controller's actor. Ranks find each other over ``group``, else torch.distributed's default group,
    of whatever backend, else the actor; then they form a small gloo group of their own. A ``run_id`` that a live run of
    the cluster has already is made unique, and a warning says so (``client.run_id`` is the name in use); it is an error
    where ranks find each other over the actor and both runs are in one job and placement group.

    Args:
        run_id: Names the run, in logs, metrics and the actor's name; at most 200 characters.
        rank: This worker's rank, 0 … world_size − 1.
        world_size: Ranks of the run.
        config: The controller's settings, the same on all ranks.
        options: Lag, patience, and what to do without the actor; the same on all ranks.
        group: A process group of these ranks, to find each other over.
        local: Decide in rank 0's process, without Ray; several ranks then need a process group.
        namespace: Ray namespace of the actor.
        actor: A controller's actor that serves one run after the other, given to all ranks; None: one for this run.

    Raises:
        ConfigError: an argument is out of range, Ray is not running, or ranks differ in theirs: then on all of them.
        ControllerUnavailableError: rank 0 cannot be found, or the actor's process does not start.
        RankLostError: a rank did not come within ``options.round_timeout_s``, or left; names it.

    Example:
        >>> config = ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05)
        >>> client = connect("my-run", rank=0, world_size=1, config=config, local=True)
        >>> client.coefficients(0).beta
        0.1
    """
    _check_arguments(run_id, rank, world_size)
    name = run_id
    decider: LocalDecider | None = None
    if rank == 0 and local:
        decider = LocalDecider()
    elif rank == 0:
        from maxent_ray.runtime.actor import create_controller  # loads Ray

        actor, name = (actor, run_id) if actor is not None else create_controller(run_id, namespace)
        decider = ActorDecider(name, actor, options, lambda: create_controller(name, namespace, wait=False)[0])
    ranks = SingleRank()
    if world_size > 1:
        meeting, most = _meet(run_id, rank, world_size, group, local, namespace, actor, options.round_timeout_s)
        try:
            name = _compare_arguments(meeting, most, name, rank, world_size, config, options)
            ranks = GlooRanks(meeting, rank, world_size, options.round_timeout_s)
        except MaxentRayError:
            meeting.leave()
            raise
    return ControllerClient(name, rank, config, ranks, decider, options)


def _check_arguments(run_id: str, rank: int, world_size: int) -> None:
    if not run_id.strip():
        raise ConfigError(f"run_id is {run_id!r}; it must name the run")
    if len(run_id) > LONGEST_RUN_ID:
        raise ConfigError(f"run_id has {len(run_id)} characters; it must have at most {LONGEST_RUN_ID}")
    if world_size < 1:
        raise ConfigError(f"world_size is {world_size}; it must be >= 1")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank is {rank}; it must be in [0, {world_size}), the world size")


def _meet(
    run_id: str,
    rank: int,
    world_size: int,
    group: dist.ProcessGroup | None,
    local: bool,
    namespace: str,
    actor: Any,
    timeout_s: float,
) -> tuple[Meeting, int]:
    """The meeting of the run's ranks, and how many can come to it."""
    if group is None and dist.is_available() and dist.is_initialized():
        group = dist.group.WORLD
    if group is not None:
        return meet_over_group(group, run_id, rank, world_size, timeout_s), dist.get_world_size(group)
    if local:
        raise ConfigError(
            f"world_size is {world_size} with local=True: ranks need a process group to find each other over; call "
            "torch.distributed.init_process_group() first, or give group="
        )
    from maxent_ray.runtime.actor import living_controllers  # loads Ray

    def actors() -> list[Any]:
        living = living_controllers(run_id, namespace)
        return [actor, *(other for other in living if other != actor)] if actor is not None else list(living)

    return meet_over_actor(actors, run_id, rank, world_size, timeout_s), world_size


def _compare_arguments(
    meeting: Meeting,
    most: int,
    name: str,
    rank: int,
    world_size: int,
    config: ControllerConfig,
    options: ClientOptions,
) -> str:
    """The name that rank 0 has for the run, once all ranks are there and were asked for the same."""
    limit = options.round_timeout_s
    own = {"world_size": world_size, "lag": options.lag, "round_timeout_s": limit, **asdict(config)}

    def differences(lines: Mapping[int, Any]) -> list[str]:
        if 0 not in lines:
            return []
        first = lines[0]["arguments"]
        return [
            f"{argument} is {first[argument]!r} on rank 0 and {line['arguments'].get(argument)!r} on rank {other}"
            for other, line in sorted(lines.items())
            for argument in first
            if first[argument] != line["arguments"].get(argument)
        ]

    def enough(lines: Mapping[int, Any]) -> bool:
        return bool(differences(lines)) or len(lines) == most

    lines = meeting.lines("arguments", {"name": name, "arguments": own}, limit, enough)
    if differences(lines):
        raise ConfigError(f"run {name!r}: {'; '.join(differences(lines))}; connect all ranks alike")
    missing = [other for other in range(world_size) if other not in lines]
    if missing and most < world_size:
        raise ConfigError(f"run {name!r}: world_size is {world_size}, but the process group has {most} ranks")
    if missing:
        raise RankLostError(f"run {name!r}: {named(missing, world_size)} did not connect within {limit:g} s")
    return str(lines[0]["name"])
