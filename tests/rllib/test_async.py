"""IMPALA and APPO: coefficients move in the learner's thread, state is read from another one."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig

from maxent_ray.errors import ConfigError
from maxent_ray.rllib import control
from maxent_ray.rllib.appo import MaxEntAPPOTorchLearner
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


class RestoredInAnUpdate(MaxEntAPPOTorchLearner):
    """Is told, from another thread and in the middle of an update, to load ``state``."""

    state: dict[str, Any] | None = None
    restoring: Thread | None = None
    order: tuple[str, ...] = ()

    def compute_losses(self, **arguments: Any) -> dict[str, Any]:
        if self.state is not None and self.restoring is None:
            self.restoring = Thread(target=self._load)
            self.restoring.start()
            self.restoring.join(0.2)  # it would be done by now, if it did not wait for the update
        return super().compute_losses(**arguments)

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        if self.restoring is not None:
            self.order += ("updated",)
        super().after_gradient_based_update(timesteps=timesteps)

    def _load(self) -> None:
        self.set_state(self.state)
        self.order += ("restored",)


@pytest.mark.slow
def test_appo_is_restored_between_two_updates_of_its_thread(
    built: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = asynchronous(APPOConfig(), use_kl_loss=True, kl_coeff=0.2).learners(num_learners=0)
    config.learners(learner_class=RestoredInAnUpdate)
    algorithm = built(control(config, target_entropy=0.5, target_kl=0.001))
    learner = algorithm.learner_group._learner
    train(algorithm, updates=2)
    algorithm.save_to_path(tmp_path)
    state = learner.get_state()
    later = len(train(algorithm, updates=state["maxent_ray"][MODULE]["step"] + 3))
    learner.state = state
    while learner.restoring is None:
        algorithm.train()
    learner.restoring.join()
    assert learner.order[0] == "updated"
    algorithm.restore_from_path(tmp_path)
    assert len(learner.maxent_decisions({})[MODULE]) < later
    decisions = train(algorithm, updates=later)
    assert [each["step"] for each in decisions] == list(range(len(decisions)))
    assert learner._controls[MODULE].skipped_reports == 0  # APPO measures the restored policy itself

    monkeypatch.setattr(type(learner), "distributed", True)
    with pytest.raises(ConfigError, match=r"num_learners is 0, .* has trained already: .* build a new algorithm"):
        algorithm.restore_from_path(tmp_path)
