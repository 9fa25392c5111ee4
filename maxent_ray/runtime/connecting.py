"""The way from a rank to its run's controller, opened."""

from __future__ import annotations

import time
from collections.abc import Callable

from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.errors import ConfigError, ControllerUnavailableError
from maxent_ray.runtime.agreement import RankAgreement
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.report_check import LONGEST_RUN_ID
from maxent_ray.runtime.service import ControllerService
from maxent_ray.runtime.transport import LocalTransport, Transport

NAMESPACE = "maxent_ray"
"""Ray namespace of all controllers: a submitted job's own is random."""


def connect(
    run_id: str,
    rank: int,
    world_size: int,
    config: ControllerConfig,
    *,
    options: ClientOptions = ClientOptions(),
    namespace: str = NAMESPACE,
    local: bool = False,
    actor_name: str | None = None,
    agree_over_ranks: bool = False,
) -> ControllerClient:
    """Connect one rank to the run's controller, which the first rank to come creates.

    Args:
        run_id: Names the run, and its actor.
        rank: This worker's rank, 0 … world_size − 1.
        world_size: Ranks of the run (with ``reduction="collective"``, of torch.distributed's default group).
        config: The controller's settings, the same on all ranks.
        options: Lag, reduction, patience, and what to do without the controller.
        namespace: Ray namespace of the actor.
        local: Keep the controller in this process, without Ray (one rank, or rank 0 of a collective).
        actor_name: Name of an actor that serves one run after the other and was told to serve this one.
        agree_over_ranks: Compare each step's coefficients over torch.distributed before they are used: an outage that
            only some ranks meet, who then hold or step alone, cannot part them. All ranks must then call
            ``coefficients``, ``state_dict`` and ``load_state_dict`` alike. ``reduction="collective"`` does without it.

    Raises:
        ConfigError: an argument is out of range, Ray is not running, or the run's actor has other settings.
        ControllerUnavailableError: the actor did not answer, after the retries.
    """
    _check_arguments(run_id, rank, world_size, options, local)

    def open_transport(reporters: int) -> Transport:
        if local:
            return LocalTransport(ControllerService(run_id, config, reporters, policy=options.rounds))
        from maxent_ray.runtime.ray_transport import RayTransport

        asked = (run_id, config, reporters, namespace, options.rounds, options.timeout_s, actor_name)
        return _patiently(lambda: RayTransport(*asked), options)

    if options.reduction == "collective":
        from maxent_ray.runtime.reduction import CollectiveTransport

        transport: Transport = CollectiveTransport(rank, world_size, options.rounds, lambda: open_transport(1))
    else:
        transport = open_transport(world_size)
    agreement = RankAgreement(rank, world_size) if agree_over_ranks and options.reduction == "actor" else None
    return ControllerClient(run_id, rank, config, transport, options, agreement)


def _patiently(call: Callable[[], Transport], options: ClientOptions) -> Transport:
    """Try again while an actor restarts, as when it dies together with the ranks that now connect anew."""
    for attempt in range(options.retries):
        try:
            return call()
        except ControllerUnavailableError:
            time.sleep(options.backoff_s * 2**attempt)
    return call()


def _check_arguments(run_id: str, rank: int, world_size: int, options: ClientOptions, local: bool) -> None:
    if not run_id:
        raise ConfigError("run_id is empty; it must name the run")
    if len(run_id) > LONGEST_RUN_ID:
        raise ConfigError(f"run_id has {len(run_id)} characters; it must have at most {LONGEST_RUN_ID}")
    if world_size < 1:
        raise ConfigError(f"world_size is {world_size}; it must be >= 1")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank is {rank}; it must be in [0, {world_size}), the world size")
    if local and world_size > 1 and options.reduction == "actor":
        raise ConfigError(f"world_size is {world_size} with local=True; without Ray only one rank can report")
