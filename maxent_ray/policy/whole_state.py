"""Whole tensors of a model that is divided among ranks: gathered to be saved, divided again where they are loaded."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor that is divided among ranks, which call this together; another one is returned as it is.

    Example:
        >>> whole(torch.ones(2))
        tensor([1., 1.])
    """
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gather named tensors one after the other, detached; only rank 0 gets those that are divided, on its CPU.

    Args:
        tensors: A tensor under two names is gathered once, and is one tensor afterwards too.

    Example:
        >>> gathered({"w": torch.ones(2, requires_grad=True)})
        {'w': tensor([1., 1.])}
    """
    found: dict[str, Tensor] = {}
    known: dict[int, Tensor] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, DTensor):
            found[name] = tensor.detach()
            continue
        if id(tensor) not in known:
            full = whole(tensor.detach())
            known[id(tensor)] = full.cpu() if dist.get_rank() == 0 else full.new_empty(0)
        if dist.get_rank() == 0:
            found[name] = known[id(tensor)]
    return found


def divided_like(tensor: Tensor, own: Tensor) -> Tensor:
    """Take this rank's part of a whole tensor, divided as one of its own is; of one that is not divided, the whole.

    Example:
        >>> divided_like(torch.ones(2), torch.zeros(2))
        tensor([1., 1.])
    """
    if not isinstance(own, DTensor) or own.shape != tensor.shape:  # the count of steps belongs to a parameter as well
        return tensor
    part = distribute_tensor(tensor.detach(), own.device_mesh, own.placements, src_data_rank=None)
    return part.clone()  # a view would keep the whole in memory


def outline(model: PreTrainedModel) -> PreTrainedModel:
    """Copy a model without the values of its parameters, which takes no memory.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> copied = outline(load_policy("embedded", device=torch.device("cpu")).model)
        >>> {parameter.device.type for parameter in copied.parameters()}
        {'meta'}
    """
    known = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, known)


def filled(empty: PreTrainedModel, values: Mapping[str, Tensor]) -> PreTrainedModel:
    """Copy an :func:`outline`, with values.

    Example:
        >>> from maxent_ray.policy import load_policy
        >>> model = load_policy("embedded", device=torch.device("cpu")).model
        >>> copied = filled(outline(model), model.state_dict())
        >>> all(torch.equal(*pair) for pair in zip(copied.parameters(), model.parameters(), strict=True))
        True
    """
    model = copy.deepcopy(empty)
    model.load_state_dict(values, assign=True)
    model.tie_weights()
    return model
