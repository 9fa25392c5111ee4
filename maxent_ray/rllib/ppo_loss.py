"""PPO's loss, policy entropy and KL as functions of a module's parameters and of τ and β.

On one minibatch, with r = π(a|s)/π_b(a|s), π_b the behaviour policy and means over the timesteps that are not masked:

    L(θ; τ, β) = mean(−min(r A, clip(r, 1 ± ε) A) + c_v · min((V − V*)², v_max) − τ · H(π)) + β · mean KL(π_b ‖ π)

τ is RLlib's ``entropy_coeff``, β its ``kl_coeff``. RLlib's learner computes the same for the parameters that its module
holds; here they are an argument, so that a loss can be evaluated at the parameters of an unroll.

Source: Schulman et al. 2017, arXiv:1707.06347, eqs. 7–9.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDistribution
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor, nn
from torch.func import functional_call

from maxent_ray.core.hypergradient import CoefficientTensors, Params

Batch = dict[str, Any]
"""A module's minibatch: columns of ``[timesteps, …]``."""


class PolicySignals(NamedTuple):
    """Entropy and KL, each a mean over the timesteps that are not masked (nats per timestep)."""

    entropy: Tensor
    """H(π)."""
    kl: Tensor
    """KL(π_b ‖ π)."""


class PPOLoss:
    """PPO's loss of a module, without its metrics, as a pure function.

    Args:
        module: The module, not wrapped for data parallelism.
        config: The algorithm's settings for it.
    """

    def __init__(self, module: TorchRLModule, config: PPOConfig) -> None:
        self._pass = _TrainPass(module)
        self._config = config

    @property
    def params(self) -> dict[str, Tensor]:
        """The module's trained parameters by name; frozen ones stay the module's own."""
        return {name: value for name, value in self._pass.module.named_parameters() if value.requires_grad}

    def loss(self, params: Params, batch: Batch, coefficients: CoefficientTensors) -> Tensor:
        """L (scalar), as RLlib's learner has it with entropy coefficient τ and KL coefficient β."""
        config, (tau, beta) = self._config, coefficients
        outputs = self._forward(params, batch)
        advantages = batch[Postprocessing.ADVANTAGES]
        ratio = torch.exp(outputs.policy.logp(batch[Columns.ACTIONS]) - batch[Columns.ACTION_LOGP])
        clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        loss: Tensor = -torch.minimum(advantages * ratio, advantages * clipped)
        if config.use_critic:
            errors = (outputs.values - batch[Postprocessing.VALUE_TARGETS]) ** 2
            loss = loss + config.vf_loss_coeff * errors.clamp(0, config.vf_clip_param)
        signals = self._signals(batch, outputs.policy)
        return _mean(loss, batch) - tau * signals.entropy + beta * signals.kl

    def signals(self, params: Params, batch: Batch) -> PolicySignals:
        """H and KL at the given parameters."""
        return self._signals(batch, self._forward(params, batch).policy)

    def _signals(self, batch: Batch, policy: TorchDistribution) -> PolicySignals:
        behaviour_type = self._pass.module.get_exploration_action_dist_cls()
        behaviour = behaviour_type.from_logits(batch[Columns.ACTION_DIST_INPUTS])
        return PolicySignals(_mean(policy.entropy(), batch), _mean(behaviour.kl(policy), batch))

    def _forward(self, params: Params, batch: Batch) -> _Outputs:
        named = {f"module.{name}": value for name, value in params.items()}
        outputs: _Outputs = functional_call(self._pass, named, (batch,))
        return outputs


class _Outputs(NamedTuple):
    policy: TorchDistribution
    """π at every timestep."""
    values: Tensor
    """V, ``[timesteps]``."""


class _TrainPass(nn.Module):
    """A module's training pass as one ``forward``, which ``functional_call`` needs: policy and values."""

    def __init__(self, module: TorchRLModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch) -> _Outputs:
        outputs = self.module.forward_train(batch)
        policy = self.module.get_train_action_dist_cls().from_logits(outputs[Columns.ACTION_DIST_INPUTS])
        return _Outputs(policy, self.module.compute_values(batch, embeddings=outputs.get(Columns.EMBEDDINGS)))


def _mean(values: Any, batch: Batch) -> Tensor:
    """Mean over timesteps. RLlib adds a masked one to each episode; it has no part in any gradient."""
    counted: Tensor = values if Columns.LOSS_MASK not in batch else values[batch[Columns.LOSS_MASK]]
    return counted.mean()
