"""Models that do not fit one device: parameters divided among the ranks (FSDP2), and gathered a layer at a time.

A pass of such a model gathers each layer from all ranks. So all ranks make equally many passes: they agree on the end
of sampling and on the number of micro-batches, and a prompt is not read apart from its completions.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from transformers import PreTrainedModel

from maxent_ray.errors import ConfigError
from maxent_ray.policy.recomputing import decoder_layers


def shard_model(model: PreTrainedModel, device: torch.device, dtype: torch.dtype | None = None) -> None:
    """Divide a model's parameters among the ranks of the default process group.

    Each layer is whole while it computes. Embeddings and output head are whole from the beginning of a pass to the end
    of its backward pass, so that the head can be called outside of the model.

    Args:
        model: Changed in place; moved to the device a layer at a time.
        device: Device of this rank.
        dtype: Type of gathered parameters, whose gradients are added up in float32; None: as they are.

    Raises:
        ConfigError: its family has no layers that are known.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> shard_model(model, torch.device("cpu"))
        >>> is_sharded(model)
        True
        >>> dist.destroy_process_group()
    """
    check_layers(model)
    precision = MixedPrecisionPolicy(dtype, None if dtype is None else torch.float32)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    shard = partial(fully_shard, mesh=mesh, mp_policy=precision)
    for layer in reversed(decoder_layers(model)):  # what is inside of a layer comes before it
        shard(layer)
    shard(model)


def check_layers(model: nn.Module) -> None:
    """Check that a model has layers which can be gathered one at a time.

    Raises:
        ConfigError: its family has none that are known.

    Example:
        >>> check_layers(nn.Linear(2, 1))
        Traceback (most recent call last):
        maxent_ray.errors.ConfigError: train.fully_shard is true; Linear has no layers that can be gathered one at ...
    """
    if not decoder_layers(model):
        raise ConfigError(
            f"train.fully_shard is true; {type(model).__name__} has no layers that can be gathered one at a time: "
            "leave it out, and train adapters (policy.lora) where memory is short"
        )


def is_sharded(model: nn.Module) -> bool:
    """True for a model that :func:`shard_model` changed.

    Example:
        >>> is_sharded(nn.Linear(2, 1))
        False
    """
    return isinstance(model, FSDPModule)


def most_of_ranks(model: nn.Module, count: int) -> int:
    """Largest count of the ranks that share a model; they call this together. Of another model the count itself.

    Example:
        >>> most_of_ranks(nn.Linear(2, 1), 3)
        3
    """
    if not is_sharded(model):
        return count
    largest = torch.tensor(count, device=next(model.parameters()).device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)
