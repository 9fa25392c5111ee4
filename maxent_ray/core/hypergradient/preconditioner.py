"""Step sizes of the inner steps, which make them follow a live Adam or AdamW."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def preconditioner(model: nn.Module, optimizer: torch.optim.Adam, clip_scale: float) -> dict[str, Tensor]:
    """Step sizes with which one batch's gradient enters the live Adam or AdamW step, frozen.

    Adam moves θ by −η m̂/(√v̂ + ε), and a new gradient g enters m̂ with the share (1 − β₁)/(1 − β₁ᵗ). So the part
    of a step that τ and β can still move is −η c (1 − β₁)/(1 − β₁ᵗ)/(√v̂ + ε) · g; the rest is momentum of earlier
    batches, a constant. Without the share, inner steps are ten times too long: they leave the region around the present
    policy, and their sensitivities are noise.

    Clipping enters as the factor c of the real step, a constant: the inner steps see a subset of the batch, whose
    gradient norm is noisier and larger than the batch's, and would be clipped where the real step is not. (The core's
    ``gradient_clip`` is for inner steps that clip for themselves.)

    Args:
        model: Owner of the parameters.
        optimizer: Adam or AdamW that has made at least one step on them.
        clip_scale: c, the factor that gradient clipping applied in the real step.

    Returns:
        A tensor for every named parameter that is trained, detached.
    """
    group = optimizer.param_groups[0]
    first_decay, second_decay = group["betas"]
    rates = {}
    trained = ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
    for name, parameter in trained:
        state = optimizer.state.get(parameter)
        if not state:  # an unused parameter: the real step leaves it where it is
            rates[name] = torch.zeros_like(parameter, requires_grad=False)
            continue
        updates = float(state["step"])
        share = _share(first_decay, updates)
        root = (state["exp_avg_sq"] / (1 - second_decay**updates)).sqrt_()
        rates[name] = (group["lr"] * clip_scale * share) / root.add_(group["eps"])
    return rates


def gradient_share(optimizer: torch.optim.Adam) -> float:
    """Share of one batch's gradient in Adam's step: (1 − β₁)/(1 − β₁ᵗ) after t updates."""
    first_decay = float(optimizer.param_groups[0]["betas"][0])
    updates = max((float(state["step"]) for state in optimizer.state.values()), default=1.0)
    return _share(first_decay, updates)


def _share(first_decay: float, updates: float) -> float:
    share: float = (1 - first_decay) / (1 - first_decay**updates)
    return share
