"""APPO with a controller: τ is its entropy coefficient, β its KL coefficient."""

from __future__ import annotations

from typing import ClassVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner

from maxent_ray.rllib.entropy_bonus import EntropyBonusLearner


class MaxEntAPPOTorchLearner(EntropyBonusLearner, APPOTorchLearner):
    """APPO's learner with a controller. KL is to the target network; it needs ``use_kl_loss=True``.

    Example:
        >>> from maxent_ray.rllib import control
        >>> from ray.rllib.algorithms.appo import APPOConfig
        >>> control(APPOConfig().training(use_kl_loss=True), target_kl=0.01).learner_class.__name__
        'MaxEntAPPOTorchLearner'
    """

    beta_setting: ClassVar[str | None] = "kl_coeff"
    updates_in_thread: ClassVar[bool] = True

    def _update_module_kl_coeff(self, module_id: str, config: AlgorithmConfig) -> None:
        """Leave β alone, which RLlib's own rule would change here."""
