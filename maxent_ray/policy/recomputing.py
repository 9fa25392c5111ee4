"""Gradient checkpointing: layers whose insides are computed again in the backward pass."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from maxent_ray.errors import ConfigError


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
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers or not model.supports_gradient_checkpointing:
        raise ConfigError(
            f"policy.gradient_checkpointing is true; {type(model).__name__} has no layers that can be computed again: "
            "leave it out, and set grpo.micro_batch_tokens"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # late versions have another name for it, early ones this alone
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training, layer.gradient_checkpointing = False, False
