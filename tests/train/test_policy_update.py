"""An update whose gradient is not finite: refused, with the reason that fits and the parameters as they were."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from maxent_ray.errors import MaxentRayError
from maxent_ray.train.loss import LossTerms
from maxent_ray.train.policy_update import step_optimizer


def backward(loss: torch.Tensor) -> Callable[[], LossTerms]:
    def run() -> LossTerms:
        loss.backward()  # type: ignore[no-untyped-call]
        return LossTerms(loss.detach(), torch.zeros(1, 1), torch.zeros(1, 1))

    return run


def refusal(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> str:
    with pytest.raises(MaxentRayError) as raised:
        step_optimizer(optimizer, backward(loss), 1.0, "step 3")
    assert not raised.value.resumable  # a resume trains the same step again
    return str(raised.value)


def test_the_learning_rate_is_blamed_only_once_it_has_done_something() -> None:
    parameter = torch.nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.AdamW([parameter], lr=0.1)
    first = refusal(optimizer, parameter * float("nan"))
    assert first.startswith("step 3: the policy loss is nan and the norm of its gradient nan; the parameters are unch")
    assert "so grpo.learning_rate is not the cause" in first
    assert parameter.item() == 1.0
    step_optimizer(optimizer, backward(parameter**2), 1.0, "step 3")
    assert refusal(optimizer, parameter * float("inf")).endswith("start a new run with a lower grpo.learning_rate")
