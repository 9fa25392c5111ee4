"""Measurements of one minibatch, on the learner's device."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Minibatch(NamedTuple):
    """Means over one minibatch, as 0-dim tensors on the learner's device.

    Example:
        >>> import torch
        >>> Minibatch(torch.tensor(128), torch.tensor(0.69), torch.tensor(0.01)).timesteps
        tensor(128)
    """

    timesteps: Tensor
    """Those that the loss is over."""
    entropy: Tensor
    """Of the policy (nats per timestep)."""
    kl: Tensor | None = None
    """Of the policy from the one before the update (nats per timestep); None: the loss has no KL term."""
