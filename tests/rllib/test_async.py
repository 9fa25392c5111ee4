"""IMPALA and APPO: coefficients move in the learner's thread, state is read from another one."""

from __future__ import annotations

from typing import Any

import pytest
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig

from maxent_ray.rllib import control
from tests.rllib.tiny import MODULE, asynchronous, of_learners

AT_MOST = 120
"""Iterations of a second to wait for updates: a new env runner may take long to sample."""


def train(algorithm: Any, updates: int) -> list[dict[str, Any]]:
    """Train until so many updates are decided; the decisions."""
    for _ in range(AT_MOST):
        algorithm.train()
        decisions = of_learners(algorithm, lambda learner: learner.maxent_decisions({})[MODULE])[0]
        if len(decisions) >= updates:
            return decisions
    raise AssertionError(f"{len(decisions)} updates in {AT_MOST} iterations")


@pytest.mark.slow
@pytest.mark.parametrize("learners", [0, 1])
def test_appo_moves_both_coefficients(built: Any, learners: int) -> None:
    config = asynchronous(APPOConfig(), use_kl_loss=True, kl_coeff=0.2, entropy_coeff=0.02, lr=3e-3)
    config.learners(num_learners=learners)
    algorithm = built(control(config, target_entropy=0.5, target_kl=0.001))
    decisions = train(algorithm, updates=6)
    assert decisions[0]["previous_tau"] == 0.02 and decisions[0]["previous_beta"] == 0.2
    assert max(decision["kl"] for decision in decisions) > 0
    assert decisions[-1]["tau"] < 0.02 and decisions[-1]["beta"] != 0.2
    state = algorithm.learner_group.get_state()["learner"]["maxent_ray"][MODULE]  # while the thread trains
    assert state["step"] >= 6
    assert [each["step"] for each in decisions] == list(range(len(decisions)))


@pytest.mark.slow
def test_impala_moves_the_entropy_coefficient(built: Any) -> None:
    algorithm = built(control(asynchronous(IMPALAConfig(), entropy_coeff=0.02), target_entropy=0.5))
    decisions = train(algorithm, updates=4)
    assert decisions[0]["previous_tau"] == 0.02 and decisions[-1]["tau"] < 0.02
    assert all(decision["kl"] is None and decision["beta"] == 0 for decision in decisions)
