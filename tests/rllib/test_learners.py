"""Several learners: exact means over all of them, and one pair of coefficients."""

from __future__ import annotations

from typing import Any

import pytest
from ray.rllib.algorithms.impala import IMPALAConfig

from maxent_ray.rllib import control
from tests.rllib.next_coefficients import next_coefficients
from tests.rllib.recording_learner import RecordingLearner, whole_update
from tests.rllib.tiny import MODULE, asynchronous, metrics_of, of_learners, ppo, sac


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


def decisions_of_two(config: Any, built: Any, updates: int) -> list[list[dict[str, Any]]]:
    """Each learner's decisions of the first updates."""
    algorithm = built(config.learners(num_learners=2, num_cpus_per_learner=0.5))
    for _ in range(120):  # the first iterations have no batch yet
        algorithm.train()
        found = of_learners(algorithm, lambda learner: learner.maxent_decisions({})[MODULE])
        if min(map(len, found)) >= updates:
            return [own[:updates] for own in found]
    raise AssertionError(f"{[len(own) for own in found]} updates in 120 iterations")


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: control(asynchronous(IMPALAConfig(), entropy_coeff=0.02), target_entropy=0.5),
        lambda: control(sac("CartPole-v1"), target_entropy=0.4),
    ],
    ids=["impala", "sac"],
)
def test_two_learners_of_other_algorithms_decide_alike(built: Any, make: Any) -> None:
    first, second = decisions_of_two(make(), built, updates=4)
    compared = ("step", "version", "reason", "tau", "previous_tau", "entropy")
    for own, others in zip(first, second, strict=True):
        assert [own[name] for name in compared] == [others[name] for name in compared]
    assert first[-1]["tau"] < first[0]["previous_tau"] and all(each["entropy"] > 0 for each in first)
