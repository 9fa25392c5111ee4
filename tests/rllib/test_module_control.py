"""Control of one module, on one learner and on two."""

from __future__ import annotations

import math

import pytest
import torch

from maxent_ray import ControllerConfig
from maxent_ray.rllib.module_control import Minibatch, ModuleControl
from maxent_ray.runtime.client import ControllerClient
from tests.runtime.support import on_all, thread_clients

CONFIG = ControllerConfig(entropy_signal="policy_entropy", target_entropy=0.5, tau=0.01)


def minibatch(entropy: float) -> Minibatch:
    return Minibatch(torch.tensor(32), torch.tensor(entropy))


@pytest.mark.parametrize("learners", [1, 2])
def test_a_number_that_is_not_finite_on_one_learner_moves_nothing_on_any(
    learners: int, caplog: pytest.LogCaptureFixture
) -> None:
    controls = [ModuleControl(client, CONFIG) for client in thread_clients(learners, CONFIG, lag=0)]

    def update(client: ControllerClient, entropy: float) -> dict[str, float | None]:
        control = controls[client.rank]
        control.add(minibatch(0.6))
        control.add(minibatch(entropy if client.rank == learners - 1 else 0.6))
        metrics = control.report(gradients=None)
        control.coefficients()
        return metrics

    clients = [control.client for control in controls]
    for metrics in on_all(clients, lambda client: update(client, math.nan)):
        assert metrics["maxent_entropy"] is None and metrics["maxent_skipped_reports"] == 1
    assert all(client.decisions()[-1]["reason"] == "non_finite" for client in clients)
    assert [control.coefficients().tau for control in controls] == [0.01] * learners
    assert "policy_entropy_sum is nan" in caplog.text
    for metrics in on_all(clients, lambda client: update(client, 0.6)):
        assert metrics["maxent_entropy"] == pytest.approx(0.6) and metrics["maxent_skipped_reports"] == 1
    assert all(control.coefficients().tau < 0.01 for control in controls)
