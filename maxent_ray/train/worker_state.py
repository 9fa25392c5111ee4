"""A training worker's state as one block: parameters, AdamW's moments, step and controller."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from maxent_ray.storage.checkpoint import ADVICE, decode, encode
from maxent_ray.storage.upgrades import upgrade_client_state

_MODEL, _OPTIMIZER = "model.", "optimizer."


def encode_state(state: Mapping[str, Any]) -> bytes:
    """A worker's ``state_dict()`` as a block; nothing is pickled and every float keeps every bit.

    Tensors are called ``model.<name>`` and ``optimizer.<index>.<moment>``. Parameters that share memory (tied
    embeddings) are stored once.

    Example:
        >>> import torch
        >>> state = {"step": 3, "prompts": "df3b", "model": {"w": torch.ones(2)}, "optimizer": {}, "controller": {}}
        >>> decode_state(encode_state(state), "block")
        {'step': 3, 'prompts': 'df3b', 'model': {'w': tensor([1., 1.])}, 'optimizer': {}, 'controller': {}}
    """
    own, tied = _without_ties(state["model"])
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in own.items()}
    for index, moments in state["optimizer"].items():
        tensors.update({f"{_OPTIMIZER}{index}.{name}": moment for name, moment in moments.items()})
    named = {name: state[name] for name in ("step", "prompts", "controller")}
    return encode(tensors, {**named, "tied": tied})


def decode_state(block: bytes, where: str | os.PathLike[str], advice: str = ADVICE) -> dict[str, Any]:
    """Read a worker's state back, on the CPU; one of an older schema is upgraded.

    Args:
        block: From :func:`encode_state`.
        where: Names the block in errors, as by its path.
        advice: Ends errors about a block that cannot be read.

    Raises:
        ResumeError: the block is damaged, or of a newer schema.
    """
    tensors, state, schema = decode(block, where, advice)
    model = {name.removeprefix(_MODEL): each for name, each in tensors.items() if name.startswith(_MODEL)}
    model.update({name: model[same] for name, same in state["tied"].items()})
    optimizer: dict[int, dict[str, Tensor]] = {}
    for name in sorted(name for name in tensors if name.startswith(_OPTIMIZER)):
        index, _, moment = name.removeprefix(_OPTIMIZER).partition(".")
        optimizer.setdefault(int(index), {})[moment] = tensors[name]
    controller = upgrade_client_state(state["controller"], schema)
    return {
        "step": state["step"],
        "prompts": state.get("prompts"),  # None in one that is older than they are
        "model": model,
        "optimizer": optimizer,
        "controller": controller,
    }


def _without_ties(model: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Parameters without duplicates, none sharing memory, and for each tied name the name that is stored."""
    own: dict[str, Tensor] = {}
    memories: set[int] = set()
    names: dict[tuple[Any, ...], str] = {}
    tied: dict[str, str] = {}
    for name, tensor in model.items():
        first = names.setdefault((tensor.data_ptr(), tensor.device, tensor.shape, tensor.stride(), tensor.dtype), name)
        if first != name and tensor.numel() > 0:
            tied[name] = first
            continue
        memory = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone() if memory in memories else tensor
        memories.add(memory)
    return own, tied
