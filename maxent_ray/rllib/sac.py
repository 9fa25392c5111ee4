"""SAC with a controller: τ is α, the temperature of its soft values and its actor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium as gym
import torch
from ray.rllib.algorithms.sac.sac_learner import ACTION_LOG_PROBS, ACTION_PROBS
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.state import Coefficients
from maxent_ray.core.update_rules.error_rules import PI
from maxent_ray.core.update_rules.settings import RuleSettings
from maxent_ray.errors import ConfigError
from maxent_ray.rllib.action_spaces import largest_entropy
from maxent_ray.rllib.learner import ControlledLearner
from maxent_ray.rllib.minibatch import Minibatch
from maxent_ray.rllib.settings import Settings


class MaxEntSACTorchLearner(ControlledLearner, SACTorchLearner):
    """SAC's learner with a controller, over discrete or continuous actions. RLlib's optimiser of α stands still.

    Without a target of the controller's own, H* is SAC's ``target_entropy``: a number, or ``auto`` for −dim(A), which
    only continuous actions can have.

    Source: Haarnoja et al. (2018), arXiv:1812.05905, section 5.

    Example:
        >>> from maxent_ray.rllib import control
        >>> from ray.rllib.algorithms.sac import SACConfig
        >>> control(SACConfig().environment("Pendulum-v1")).learner_class.__name__
        'MaxEntSACTorchLearner'
    """

    tau_setting: ClassVar[str] = "initial_alpha"
    # an update is one small step: at the clip α moves by 0.25 % in it. Slower it is far behind the growing Q-values,
    # at twice the rate it swings wider, and gains that are found (auto) drive α to its bound before H has answered
    usual_tau_rule: ClassVar[RuleSettings | None] = PI(learning_rate=0.01, proportional_gain=0.5, ema_decay=0.9)
    curr_log_alpha: dict[str, Any]

    @classmethod
    def default_target_entropy(cls, config: Any, space: gym.Space[Any] | None, where: str) -> float | None:
        """SAC's own H* (nats)."""
        if config.target_entropy not in (None, "auto"):
            return float(config.target_entropy)
        if space is None:
            return None
        most = largest_entropy(space)
        if math.isfinite(most):
            raise ConfigError(
                f"{where}: target_entropy is {config.target_entropy!r}, which is −1 for {space} and out of reach; "
                f"give control() a target_entropy in (0, {most:.4f}) nats"
            )
        return -float(math.prod(space.shape or ()))

    @classmethod
    def controller_config(
        cls, config: Any, settings: Settings, module_id: str, space: gym.Space[Any] | None
    ) -> ControllerConfig:
        """Settings of one module's controller; α is above 0, moved or not.

        Raises:
            ConfigError: something does not fit; says what to change.
        """
        controller = super().controller_config(config, settings, module_id, space)
        if not controller.initial("tau") > 0:
            raise ConfigError(
                f"module {module_id!r}: tau is {controller.tau}; it must be > 0, as SAC keeps ln α: set initial_alpha, "
                "or give control() a tau"
            )
        return controller

    @classmethod
    def check_own_settings(cls, config: Any, target_entropy: float | None, target_kl: float, where: str) -> None:
        """Raise ConfigError for a second target, or a learning rate of RLlib's optimiser of α."""
        usual = type(config)()
        if target_entropy is not None and config.target_entropy not in (usual.target_entropy, None, target_entropy):
            raise ConfigError(
                f"{where}: SAC's target_entropy is {config.target_entropy} and control()'s is {target_entropy}; "
                "give one of the two"
            )
        if config.alpha_lr not in (usual.alpha_lr, 0.0):
            raise ConfigError(
                f"{where}: alpha_lr is {config.alpha_lr}, of RLlib's own optimiser of α, and maxent_ray sets α; "
                f"leave alpha_lr at {usual.alpha_lr}"
            )

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register SAC's optimisers; that of α, which the learner expects, with a learning rate of 0."""
        still = config.copy(copy_frozen=False)
        still.alpha_lr = 0.0
        super().configure_optimizers_for_module(module_id, still)

    def apply_coefficients(self, module_id: str, coefficients: Coefficients) -> None:
        """Train the next update of a module with α = τ."""
        self.curr_log_alpha[module_id].data.fill_(math.log(coefficients.tau))

    def measure(self, module_id: str, batch: Mapping[str, Any], fwd_out: Mapping[str, Any]) -> Minibatch:
        """Measure the policy's entropy at the batch's observations, over continuous actions from one sample of each."""
        with torch.no_grad():
            if ACTION_PROBS in fwd_out:
                entropy = -(fwd_out[ACTION_PROBS] * fwd_out[ACTION_LOG_PROBS]).sum(-1)
            else:
                entropy = -fwd_out["logp_resampled"]
            return Minibatch(entropy.new_full((), entropy.numel()), entropy.mean())
