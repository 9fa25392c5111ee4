"""Step sizes of the inner steps against torch's own Adam and AdamW."""

from __future__ import annotations

import copy
from typing import TypeAlias

import pytest
import torch

from maxent_ray.core.hypergradient.preconditioner import gradient_share, preconditioner

AdamType: TypeAlias = type[torch.optim.Adam]
EITHER = pytest.mark.parametrize("optimizer_type", [torch.optim.Adam, torch.optim.AdamW])


@EITHER
@pytest.mark.parametrize("updates", [1, 2, 5])
def test_the_step_sizes_are_the_share_that_a_gradient_has_in_adams_step(updates: int, optimizer_type: AdamType) -> None:
    """θ's change in the last step, differentiated in that step's gradient at frozen second moments.

    Δθ = −η m̂/(√v̂ + ε) and dm̂/dg = (1 − β₁)/(1 − β₁ᵗ): torch's own state gives m̂ and v̂.
    """
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2).double()
    optimizer = optimizer_type(model.parameters(), lr=0.01, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.0)
    for _ in range(updates):
        gradients = {name: torch.randn_like(p) for name, p in model.named_parameters()}
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        for name, parameter in model.named_parameters():
            parameter.grad = gradients[name].clone()
        optimizer.step()
    rates = preconditioner(model, optimizer, clip_scale=1.0)
    for name, parameter in model.named_parameters():
        mean = optimizer.state[parameter]["exp_avg"]
        # the whole step is the rate of one gradient times m/(1 − β₁), m in torch's running form
        torch.testing.assert_close(parameter.detach() - before[name], -rates[name] * mean / 0.2)
    if updates == 1:  # then the gradient is all there is
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.detach() - before[name], -rates[name] * gradients[name])


@EITHER
def test_clipping_scales_the_steps_and_nothing_is_tracked(optimizer_type: AdamType) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = optimizer_type(model.parameters(), lr=0.01)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moments = copy.deepcopy(optimizer.state_dict())
    full, half = (preconditioner(model, optimizer, clip_scale=c) for c in (1.0, 0.5))
    for name, rate in full.items():
        torch.testing.assert_close(half[name], rate / 2)
        assert not rate.requires_grad
    for a, b in zip(moments["state"].values(), optimizer.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)


@EITHER
@pytest.mark.parametrize("updates", [1, 3, 40])
def test_the_share_of_a_gradient_is_what_its_change_does_to_the_step(updates: int, optimizer_type: AdamType) -> None:
    """Δθ with the last gradient raised by δ, over what the whole first moment raised by δ would do."""
    moved = []
    for raise_by in (0.0, 1e-3):
        parameter = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        optimizer = optimizer_type([parameter], lr=1.0, betas=(0.9, 0.0), eps=1.0, weight_decay=0.0)
        for update in range(updates):
            before = parameter.item()
            parameter.grad = torch.tensor(raise_by if update == updates - 1 else 0.0, dtype=torch.float64)
            optimizer.step()
        moved.append(parameter.item() - before)
    # with beta_2 = 0 and eps = 1 the root is |g| + 1, so the step is -share * g / (1 + |g|)
    assert (moved[0] - moved[1]) * (1 + 1e-3) / 1e-3 == pytest.approx(gradient_share(optimizer), rel=1e-9)
