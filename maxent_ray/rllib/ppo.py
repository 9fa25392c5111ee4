"""PPO with a controller: τ is its entropy coefficient, β its KL coefficient."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor
from torch.optim import Adam

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.hypergradient.preconditioner import gradient_share, preconditioner
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.rllib.entropy_bonus import KL_COEFF_KEY, EntropyBonusLearner
from maxent_ray.rllib.inner_loop import InnerLoop
from maxent_ray.rllib.module_control import ModuleControl
from maxent_ray.rllib.ppo_unroll import PPOUnroll
from maxent_ray.rllib.ppo_unroll_check import check_learner, check_settings


class MaxEntPPOTorchLearner(EntropyBonusLearner, PPOTorchLearner):
    """PPO's learner with a controller. KL is to the policy that sampled the batch.

    With truncated backprop each module has a :class:`~maxent_ray.rllib.ppo_unroll.PPOUnroll`.

    Example:
        >>> from maxent_ray.rllib import control
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> control(PPOConfig(), target_kl=0.01).learner_class.__name__
        'MaxEntPPOTorchLearner'
    """

    beta_setting: ClassVar[str | None] = "kl_coeff"
    measures_sampler: ClassVar[bool] = True

    @classmethod
    def check_unroll(cls, config: Any, controller: ControllerConfig, where: str) -> None:
        """Raise ConfigError for a setting that truncated backprop cannot follow."""
        if controller.unroll is not None:
            check_settings(config, controller.unroll, where)

    def inner_loop(self, config: ControllerConfig) -> InnerLoop | None:
        """Follow KL over the minibatch steps of an update, where β has a target."""
        if not (self._settings.inner_loop and config.moves("beta")):
            return None
        return InnerLoop(config.target_kl, distributed=self.distributed)

    def apply_beta_factor(self, module_id: str, factor: Tensor) -> None:
        """Train the next minibatch with β times a factor, inside β's bounds."""
        control = self._controls[module_id]
        beta = control.coefficients().beta * factor
        self.curr_kl_coeffs_per_module[module_id] = beta.clamp(*control.config.bounds("beta"))

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """Compute PPO's loss; an unroll keeps the first minibatches."""
        unroll = self._unrolls.get(module_id)
        if unroll is not None:
            unroll.add(batch)
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        return cast(Tensor, loss)

    def controller_gradients(self, module_id: str) -> ControllerGradients | None:
        """Unroll K minibatch steps from the update's end, on the controller's update steps."""
        unroll = self._unrolls.get(module_id)
        if unroll is None:
            return None
        control = self._controls[module_id]
        coefficients, gradients = control.coefficients(), None
        if control.config.is_update_step(coefficients.step):
            ((_, optimizer),) = self.get_optimizers_for_module(module_id)
            adam = cast(Adam, optimizer)  # checked when the module was connected
            rates = preconditioner(self._unwrapped(module_id), adam, clip_scale=1.0)
            share = gradient_share(adam)
            gradients = unroll.gradients(coefficients, control.statistics(), rates=rates, share=share)
        unroll.clear()
        return gradients

    def build(self) -> None:
        """Build the learner, and connect to the controllers."""
        if not self._is_built:
            self._unrolls: dict[str, PPOUnroll] = {}
        super().build()

    def remove_module(self, module_id: str, **kwargs: Any) -> Any:
        """Remove a module, its controller and its unroll."""
        self._unrolls.pop(module_id, None)
        return super().remove_module(module_id, **kwargs)

    def _connect(self, module_id: str, space: gym.Space[Any] | None) -> ModuleControl:
        control = super()._connect(module_id, space)
        if control.config.unroll is not None:
            check_learner(self, MaxEntPPOTorchLearner, module_id)
            config = cast(PPOConfig, self.config.get_config_for_module(module_id))
            self._unrolls[module_id] = PPOUnroll(self._unwrapped(module_id), config, control.config.unroll)
        return control

    def _unwrapped(self, module_id: str) -> TorchRLModule:
        return cast(TorchRLModule, self.module[module_id].unwrapped())

    def _update_module_kl_coeff(self, *, module_id: str, config: AlgorithmConfig, kl_loss: float) -> None:
        """Log β, which RLlib's own rule would change here."""
        self.metrics.log_value((module_id, KL_COEFF_KEY), self._controls[module_id].coefficients().beta, window=1)
