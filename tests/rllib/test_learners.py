"""Several learners: exact means over all of them, and one pair of coefficients."""

from __future__ import annotations

from typing import Any

import pytest

from maxent_ray.rllib import control
from tests.rllib.next_coefficients import next_coefficients
from tests.rllib.recording_learner import RecordingLearner, whole_update
from tests.rllib.tiny import MODULE, metrics_of, of_learners, ppo


@pytest.mark.slow
def test_two_learners_report_as_one_and_train_with_the_same_coefficients(built: Any) -> None:
    config = ppo().learners(num_learners=2, num_cpus_per_learner=0.5, learner_class=RecordingLearner)
    algorithm = built(control(config, target_entropy=0.5, target_kl=0.01))
    for _ in range(2):
        metrics = metrics_of(algorithm.train())
        recorded = of_learners(algorithm, lambda learner: learner.take())
        assert len(recorded) == 2 and recorded[0] != recorded[1]
        update = whole_update([*recorded[0], *recorded[1]])
        assert metrics["maxent_entropy"] == pytest.approx(update.entropy, rel=1e-5)
        assert metrics["maxent_kl"] == pytest.approx(update.kl, rel=1e-3, abs=1e-9)
        betas = of_learners(algorithm, lambda learner: learner.curr_kl_coeffs_per_module[MODULE].item())
        assert betas[0] == betas[1]  # of the update's last minibatch
        first, second = next_coefficients(algorithm)
        assert first == second
    tau, beta, version, _ = first[MODULE]
    assert (tau, beta) != (0.01, 0.2) and version == 2


@pytest.mark.slow
def test_a_remote_learners_controller_is_an_actor(built: Any) -> None:
    config = ppo().learners(num_learners=1, num_cpus_per_learner=0.5)
    algorithm = built(control(config, target_entropy=0.5))
    algorithm.train()
    (decider,) = of_learners(algorithm, lambda learner: type(learner._controls[MODULE].client._decider).__name__)
    assert decider == "ActorDecider"
    assert of_learners(algorithm, lambda learner: learner._controls[MODULE].client.counters()["decided_locally"]) == [0]
