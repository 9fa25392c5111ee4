"""Losses with an entropy bonus, and a KL term if they have one: PPO, APPO, IMPALA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import ENTROPY_KEY
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from maxent_ray.core.state import Coefficients
from maxent_ray.errors import ConfigError
from maxent_ray.rllib.learner import ControlledLearner
from maxent_ray.rllib.minibatch import Minibatch

KL_KEY, KL_COEFF_KEY = "mean_kl_loss", "curr_kl_coeff"
"""Metrics of RLlib's losses."""


class EntropyBonusLearner(ControlledLearner):
    """Mixin of a learner whose loss has τ as ``entropy_coeff``, and β as ``kl_coeff`` where it has a KL term."""

    entropy_coeff_schedulers_per_module: Any
    curr_kl_coeffs_per_module: Any

    @classmethod
    def check_own_settings(cls, config: Any, target_entropy: float | None, target_kl: float, where: str) -> None:
        """Raise ConfigError for a schedule of the entropy coefficient, or a target of RLlib's own KL rule."""
        if isinstance(config.entropy_coeff, list | tuple):
            raise ConfigError(
                f"{where}: entropy_coeff is the schedule {config.entropy_coeff}, and maxent_ray sets that coefficient; "
                "set entropy_coeff to a number, which it starts at, and give control() a target_entropy"
            )
        if cls.beta_setting is None:
            return
        usual = type(config)().kl_target
        if config.kl_target not in (usual, target_kl):
            raise ConfigError(
                f"{where}: kl_target is {config.kl_target}, of RLlib's own rule, and control() has target_kl="
                f"{target_kl or None}; leave kl_target at {usual} and pass target_kl={config.kl_target} "
                "to control()"
            )

    def apply_coefficients(self, module_id: str, coefficients: Coefficients) -> None:
        """Train the next update of a module with τ and β."""
        self.entropy_coeff_schedulers_per_module[module_id] = Scheduler(fixed_value_or_schedule=coefficients.tau)
        if self.beta_setting is not None:
            self.curr_kl_coeffs_per_module[module_id] = self._get_tensor_variable(coefficients.beta)

    def measure(self, module_id: str, batch: Mapping[str, Any], fwd_out: Mapping[str, Any]) -> Minibatch:
        """Take entropy and KL from the loss, which has computed and logged both."""
        entropy = self._logged(module_id, ENTROPY_KEY)
        mask = batch.get(Columns.LOSS_MASK)
        timesteps = entropy.new_full((), batch[Columns.ACTION_LOGP].numel()) if mask is None else mask.sum()
        has_kl = self._controls[module_id].config.kl_signal == "policy_kl"
        return Minibatch(timesteps, entropy, self._logged(module_id, KL_KEY) if has_kl else None)

    def _logged(self, module_id: str, name: str) -> Tensor:
        """Mean over the minibatch that RLlib's loss has just logged, on the learner's device."""
        mean: Tensor = self.metrics.peek((module_id, name))
        return mean.detach()
