"""PPO with a controller: τ is its entropy coefficient, β its KL coefficient."""

from __future__ import annotations

from typing import ClassVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner

from maxent_ray.rllib.entropy_bonus import KL_COEFF_KEY, EntropyBonusLearner


class MaxEntPPOTorchLearner(EntropyBonusLearner, PPOTorchLearner):
    """PPO's learner with a controller. KL is to the policy that sampled the batch.

    Example:
        >>> from maxent_ray.rllib import control
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> control(PPOConfig(), target_kl=0.01).learner_class.__name__
        'MaxEntPPOTorchLearner'
    """

    beta_setting: ClassVar[str | None] = "kl_coeff"

    def _update_module_kl_coeff(self, *, module_id: str, config: AlgorithmConfig, kl_loss: float) -> None:
        """Log β, which RLlib's own rule would change here."""
        self.metrics.log_value((module_id, KL_COEFF_KEY), self._controls[module_id].coefficients().beta, window=1)
