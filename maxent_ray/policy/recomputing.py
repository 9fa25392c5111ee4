"""Gradient checkpointing: layers whose insides are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from maxent_ray.errors import ConfigError


def is_recomputing(model: nn.Module) -> bool:
    """True inside of :func:`recomputing`.

    Example:
        >>> is_recomputing(nn.Linear(2, 1))
        False
    """
    return any(layer.training for layer in decoder_layers(model))


def decoder_layers(model: nn.Module) -> list[Any]:
    """Find the layers that transformers can compute again in the backward pass, from the first to the last.

    Example:
        >>> import torch
        >>> from maxent_ray.policy import load_policy
        >>> len(decoder_layers(load_policy("embedded", device=torch.device("cpu")).model))
        3
    """
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


@contextmanager
def recomputing(model: PreTrainedModel) -> Iterator[None]:
    """Context of forward passes that keep the inputs of layers alone for the backward pass.

    Dropout stays off: of the layers alone, not of what is in them, transformers is told that they train.

    Args:
        model: In evaluation mode.

    Raises:
        ConfigError: its family has no layers that can be computed again.

    Example:
        >>> import torch
        >>> from maxent_ray.policy import load_policy
        >>> with recomputing(load_policy("embedded", device=torch.device("cpu")).model):
        ...     pass
    """
    layers = decoder_layers(model)
    if not layers or not model.supports_gradient_checkpointing:
        raise ConfigError(
            f"policy.gradient_checkpointing is true; {type(model).__name__} has no layers that can be computed again: "
            "leave it out, and set grpo.micro_batch_tokens"
        )
    for layer in layers:
        # Not by the model's own switch, which leaves hooks behind that make the embeddings' outputs require gradients.
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
        layer.gradient_checkpointing, layer.training = True, True
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing, layer.training = False, False
