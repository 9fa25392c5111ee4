"""The process group of torch.distributed that ranks already train with, checked and usable for small messages."""

from __future__ import annotations

import torch.distributed as dist

from maxent_ray.errors import ConfigError


def check_group(rank: int, world_size: int, asked: str) -> None:
    """Make sure that torch.distributed runs, and runs as what the caller says.

    Args:
        rank: This process's rank.
        world_size: Ranks of the run.
        asked: The setting that needs torch.distributed.

    Raises:
        ConfigError: it does not run, or with another rank or world size.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise ConfigError(f"{asked} needs torch.distributed; call init_process_group() first, or do without it")
    if (dist.get_rank(), dist.get_world_size()) != (rank, world_size):
        raise ConfigError(
            f"rank {rank} of {world_size} was asked for, but torch.distributed runs this process as "
            f"rank {dist.get_rank()} of {dist.get_world_size()}"
        )


def cpu_group() -> dist.ProcessGroup | None:
    """A group that moves CPU tensors, which only gloo does; nccl keeps the default group for itself. All ranks call."""
    return None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
