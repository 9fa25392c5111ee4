"""Connect a rank to the other ranks of its run and to the run's controller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch.distributed as dist

from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.errors import ConfigError, RankLostError
from maxent_ray.runtime.asking import ActorDecider, LocalDecider
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.finding import find_store
from maxent_ray.runtime.meeting import Meeting
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

    Rank 0 creates the controller's actor. Ranks find each other over ``group``, else over torch.distributed's default
    group where that has these ranks and moves CPU tensors, else over the actor; then they form a small gloo group of
    their own. A ``run_id`` that a live run of the cluster has already is made unique, and a warning says so
    (``client.run_id`` is the name in use). Runs of one name whose ranks find each other over the actor are told apart
    by job and placement group: inside one of these, give runs of several ranks names of their own.

    Args:
        run_id: Names the run, in logs, metrics and the actor's name; at most 200 characters.
        rank: This worker's rank, 0 … world_size − 1.
        world_size: Ranks of the run.
        config: The controller's settings, the same on all ranks.
        options: Lag, patience, and what to do without the actor; the same on all ranks.
        group: A process group of these ranks that moves CPU tensors, to find each other over.
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
    if rank == 0:
        actor, name = (actor, run_id) if local or actor is not None else _create(run_id, namespace)
        again = partial(_create, name, namespace, wait=False)
        decider = LocalDecider() if local else ActorDecider(name, actor, options, lambda: again()[0])
    ranks = SingleRank()
    if world_size > 1:
        place, limit = (rank, world_size), options.round_timeout_s
        actors = None if local else lambda: _living(run_id, namespace) if actor is None else (actor,)
        store, tell = find_store(run_id, *place, actors, group, limit)
        arguments = {"world_size": world_size, "lag": options.lag, "round_timeout_s": limit, **asdict(config)}
        name = _compare_arguments(Meeting(store, *place), name, rank, arguments, limit, tell)
        ranks = GlooRanks(store, *place, limit)
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


def _create(run_id: str, namespace: str, wait: bool = True) -> tuple[Any, str]:
    from maxent_ray.runtime.actor import create_controller  # loads Ray

    return create_controller(run_id, namespace, wait=wait)


def _living(run_id: str, namespace: str) -> Iterable[Any]:
    from maxent_ray.runtime.actor import living_controllers  # loads Ray

    return living_controllers(run_id, namespace)


def _compare_arguments(
    meeting: Meeting,
    name: str,
    rank: int,
    arguments: Mapping[str, Any],
    timeout_s: float,
    tell: Callable[[], object],
) -> str:
    """The name that rank 0 has for the run, once all ranks are there and were asked for the same."""
    line = {"name": name, "arguments": arguments}
    verdict = meeting.convene("arguments", line, _verdict, timeout_s, tell)
    name, where = verdict["name"], f"run {verdict['name']!r}: "
    difference = verdict["difference"] or _difference(verdict["arguments"], rank, arguments)
    if difference:
        raise ConfigError(f"{where}{difference}; connect all ranks alike")
    if verdict["missing"]:
        raise RankLostError(f"{where}{verdict['missing']} did not connect within {timeout_s:g} s")
    return str(name)


def _verdict(lines: Sequence[Any | None]) -> Mapping[str, Any]:
    """What rank 0 finds: how others' arguments differ from its own, and who is missing."""
    own = lines[0]
    assert own is not None
    others = [(rank, line) for rank, line in enumerate(lines) if line is not None and rank > 0]
    differences = [_difference(own["arguments"], rank, line["arguments"]) for rank, line in others]
    missing = [str(rank) for rank, line in enumerate(lines) if line is None]
    named = f"rank{'s' * (len(missing) > 1)} {', '.join(missing)} of {len(lines)}" if missing else ""
    return {**own, "difference": "; ".join(filter(None, differences)), "missing": named}


def _difference(ours: Mapping[str, Any], rank: int, theirs: Mapping[str, Any]) -> str:
    names = [name for name in ours if ours[name] != theirs.get(name)]
    return "; ".join(f"{name} is {ours[name]!r} on rank 0 and {theirs.get(name)!r} on rank {rank}" for name in names)
