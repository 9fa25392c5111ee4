"""Optimiser step of the policy: backward pass, gradient clipping, AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from maxent_ray.errors import MaxentRayError, ResourceError
from maxent_ray.policy.whole_state import whole
from maxent_ray.train.loss import LossTerms


class PolicyUpdate(NamedTuple):
    """Result of an optimiser step."""

    terms: LossTerms
    """Detached."""
    gradient_norm: float
    """Global norm before clipping."""
    clip_scale: float
    """Factor of the gradient clipping, 0 … 1."""


_UNTRAINED = (
    "No update came before, so grpo.learning_rate is not the cause: check that the task's rewards and the model's "
    "log-probabilities are finite"
)
_DIVERGED = (
    "Check that the task's rewards are finite; if they are, training diverged: start a new run with a lower "
    "grpo.learning_rate"
)


def step_optimizer(
    optimizer: torch.optim.Optimizer, backward: Callable[[], LossTerms], gradient_clip: float, where: str
) -> PolicyUpdate:
    """Make one optimiser step on a policy loss.

    Args:
        optimizer: Holds the parameters.
        backward: Adds the loss's gradient to their ``grad``; returns the loss, and what was measured with it.
        gradient_clip: Largest global norm of the gradient.
        where: Step and coefficients, for the message.

    Raises:
        MaxentRayError: the gradient is not finite, or memory ran out; the parameters are unchanged.
    """
    is_first = not optimizer.state
    optimizer.zero_grad(set_to_none=True)
    try:
        terms = backward()
    except ResourceError as error:
        raise ResourceError(f"{where}: {error}") from None
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = float(whole(nn.utils.clip_grad_norm_(parameters, gradient_clip)))
    if not norm < float("inf"):
        raise MaxentRayError(
            f"{where}: the policy loss is {terms.loss.item()} and the norm of its gradient {norm}; the parameters are "
            f"unchanged. {_UNTRAINED if is_first else _DIVERGED}"
        )
    optimizer.step()
    return PolicyUpdate(terms, norm, min(1.0, gradient_clip / (norm + 1e-6)))
