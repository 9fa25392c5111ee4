"""SAC: the controller owns α, over discrete and continuous actions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ray.rllib.algorithms.sac.sac_learner import ACTION_LOG_PROBS, ACTION_PROBS

from maxent_ray.core.update_rules.error_rules import Adam
from maxent_ray.core.update_rules.settings import RuleSettings
from maxent_ray.rllib import control
from maxent_ray.rllib.sac import MaxEntSACTorchLearner
from maxent_ray.rllib.settings import Settings
from tests.rllib.tiny import MODULE, metrics_of, sac


class Recording(MaxEntSACTorchLearner):
    """Keeps entropies of the newest minibatch, and the α that its loss was computed with."""

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> torch.Tensor:
        self.alpha = math.exp(self.curr_log_alpha[module_id].item())
        if ACTION_PROBS in fwd_out:
            self.entropy = -(fwd_out[ACTION_PROBS] * fwd_out[ACTION_LOG_PROBS]).sum(-1).mean().item()
        else:
            self.entropy = -fwd_out["logp_resampled"].mean().item()
        return super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)


@pytest.mark.parametrize(
    ("env", "target", "expected"), [("CartPole-v1", 0.4, 0.4), ("Pendulum-v1", None, -1.0), ("Pendulum-v1", 0.2, 0.2)]
)
def test_alpha_is_the_controllers(built: Any, env: str, target: float | None, expected: float) -> None:
    config = sac(env, initial_alpha=0.5).learners(learner_class=Recording)
    algorithm = built(control(config, target_entropy=target))
    learner, seen = algorithm.learner_group._learner, []
    for _ in range(40):  # the first iterations only fill the replay buffer
        result = algorithm.train()
        if MODULE in result.get("learners", {}):
            metrics = metrics_of(result)
            assert metrics["maxent_tau"] == pytest.approx(learner.alpha, rel=1e-5)
            assert metrics["maxent_tau"] == pytest.approx(float(result["learners"][MODULE]["alpha_value"]), rel=1e-5)
            assert metrics["maxent_entropy"] == pytest.approx(learner.entropy, rel=1e-5)
            assert metrics["maxent_target_entropy"] == expected
            seen.append(metrics["maxent_tau"])
    assert seen[0] == pytest.approx(0.5)
    assert len(set(seen)) > 3


@pytest.mark.parametrize(
    ("arguments", "rule", "response"),
    [
        ({}, MaxEntSACTorchLearner.usual_tau_rule, "auto"),
        ({"response": "auto"}, None, "auto"),
        ({"response": "slow"}, None, "slow"),
        ({"tau_rule": Adam(learning_rate=0.01)}, Adam(learning_rate=0.01), "auto"),
    ],
    ids=["usual", "auto", "slow", "rule"],
)
def test_alpha_has_a_rule_of_its_own_unless_told_otherwise(
    arguments: dict[str, Any], rule: RuleSettings | None, response: str
) -> None:
    config = control(sac("Pendulum-v1"), **arguments)
    controller = config.learner_class.controller_config(config, Settings.of_config(config), MODULE, None)
    assert (controller.tau_rule, controller.entropy_response) == (rule, response)


def test_an_alpha_that_stays_needs_no_target() -> None:
    for own in ("auto", 0.3):
        config = control(sac("CartPole-v1", target_entropy=own), objective=None)
        controller = config.learner_class.controller_config(config, Settings.of_config(config), MODULE, None)
        assert (controller.tau, controller.target_entropy) == (1.0, None)


def test_rllibs_optimiser_of_alpha_stands_still(built: Any) -> None:
    algorithm = built(control(sac("Pendulum-v1"), objective=None))
    learner = algorithm.learner_group._learner
    for _ in range(36):
        algorithm.train()
    assert learner.get_optimizer(MODULE, "alpha").param_groups[0]["lr"] == 0.0
    assert learner.get_optimizer(MODULE, "alpha").state  # it has stepped
    assert learner.curr_log_alpha[MODULE].item() == 0.0
