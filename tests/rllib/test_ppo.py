"""PPO: whole-update statistics, coefficients in force, RLlib's own rule off."""

from __future__ import annotations

from statistics import mean
from typing import Any, ClassVar

import pytest

from maxent_ray.rllib import control
from maxent_ray.rllib.ppo import MaxEntPPOTorchLearner
from tests.rllib.recording_learner import RecordingLearner, whole_update
from tests.rllib.tiny import MODULE, metrics_of, ppo


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_signals_are_means_over_the_whole_update(built: Any, env: str) -> None:
    config = ppo(env).learners(learner_class=RecordingLearner)
    algorithm = built(control(config, target_entropy=0.5, target_kl=0.01))
    for _ in range(2):
        metrics = metrics_of(algorithm.train())
        recorded = algorithm.learner_group._learner.take()
        assert len(recorded) >= 8  # minibatches of two epochs
        update = whole_update(recorded)
        assert update.masked > 0  # artificial steps at the episodes' ends
        assert metrics["maxent_entropy"] == pytest.approx(update.entropy, rel=1e-5)
        assert metrics["maxent_kl"] == pytest.approx(update.kl, rel=1e-3)  # float32 means of tiny numbers


def test_the_loss_is_computed_with_the_controllers_coefficients(built: Any) -> None:
    config = ppo(entropy_coeff=0.02, kl_coeff=0.3)
    algorithm = built(control(config, target_entropy=0.5, target_kl=0.01, inner_loop=False))
    learner = algorithm.learner_group._learner
    seen = []
    for _ in range(3):
        result = algorithm.train()
        metrics = metrics_of(result)
        assert learner.entropy_coeff_schedulers_per_module[MODULE].get_current_value() == metrics["maxent_tau"]
        assert learner.curr_kl_coeffs_per_module[MODULE].item() == pytest.approx(metrics["maxent_beta"])
        assert result["learners"][MODULE]["curr_kl_coeff"] == pytest.approx(metrics["maxent_beta"])
        assert result["learners"][MODULE]["curr_entropy_coeff"] == pytest.approx(metrics["maxent_tau"])
        seen.append((metrics["maxent_tau"], metrics["maxent_beta"]))
    assert seen[0] == (0.02, 0.3)
    assert len(set(seen)) == 3


class FollowedLearner(MaxEntPPOTorchLearner):
    """Records the factors that the inner loop asks for, and the β that the next minibatch trains with."""

    factors: ClassVar[list[float]] = []
    betas: ClassVar[list[float]] = []

    def apply_beta_factor(self, module_id: str, factor: Any) -> None:
        super().apply_beta_factor(module_id, factor)
        self.factors.append(factor.item())
        self.betas.append(self.curr_kl_coeffs_per_module[module_id].item())


def test_beta_follows_kl_between_the_minibatches_of_an_update(built: Any) -> None:
    config = ppo(kl_coeff=0.3).learners(learner_class=FollowedLearner)
    algorithm = built(control(config, target_kl=1e-4, beta_max=1.0))
    learner = algorithm.learner_group._learner
    assert metrics_of(algorithm.train())["maxent_beta_factor"] == 1  # the usual course is not known yet
    assert learner.factors == []
    metrics = metrics_of(algorithm.train())
    assert metrics["maxent_beta_factor"] == pytest.approx(mean(learner.factors), rel=1e-5)
    assert len(set(learner.factors)) > 1 and set(learner.factors) != {1.0}
    expected = [min(metrics["maxent_beta"] * factor, 1.0) for factor in learner.factors]
    assert learner.betas == pytest.approx(expected, rel=1e-5)
    learner.before_gradient_based_update(timesteps={})
    decided = learner._controls[MODULE].coefficients().beta
    assert learner.curr_kl_coeffs_per_module[MODULE].item() == pytest.approx(decided)  # an update begins as decided


def test_a_coefficient_without_target_stays_where_the_config_has_it(built: Any) -> None:
    algorithm = built(control(ppo(kl_coeff=0.3), target_entropy=0.5))
    measured = [metrics_of(algorithm.train()) for _ in range(3)]
    assert len({each["maxent_tau"] for each in measured}) == 3
    assert {each["maxent_beta"] for each in measured} == {0.3}


def test_decisions_are_those_of_the_updates(built: Any) -> None:
    algorithm = built(control(ppo(), target_entropy=0.5, target_kl=0.01))
    measured = [metrics_of(algorithm.train()) for _ in range(3)]
    learner = algorithm.learner_group._learner
    learner.before_gradient_based_update(timesteps={})  # receives the last decision
    decisions = learner.maxent_decisions({})[MODULE]
    assert [each["entropy"] for each in decisions] == [each["maxent_entropy"] for each in measured]
    assert [each["version"] for each in learner.maxent_decisions({MODULE: 2})[MODULE]] == [3]
