"""Truncated backprop for PPO: effect of τ and β on the entropy and KL of an update.

An update makes N minibatch steps from the behaviour policy π_b, and its H and KL(π_b ‖ π) are means over all of them.
The exact derivative would go through all N. This one is truncated to K: the steps go on from the parameters at the
update's *end*, over its first K minibatches, and H and KL are differentiated on the minibatch after those, which the
inner steps do not use.

Not from the update's start: there π = π_b, KL is 0 and at its minimum, its gradient is 0. One step then has
dKL/dβ = 0 whatever β is, and K small steps have next to nothing. At the end the penalty has its usual size, so that
K = 1 shows it, and the optimiser's second moments are known from the first update on.

H and KL themselves are not the unroll's. What the controller tracks answers within the update that τ and β were used
in; the next update starts from KL = 0 again and never makes the K steps. So the sensitivity carries the measured means
over the whole update.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from maxent_ray.core.hypergradient import CoefficientTensors, Hypergradient, Params, unrolled_gradients
from maxent_ray.core.objectives import ControllerGradients, Sensitivity, Unroll
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.rllib.ppo_loss import Batch, PPOLoss
from maxent_ray.rllib.ppo_unroll_check import mode_of


class PPOUnroll:
    """Unroll of K minibatch steps of one module, a fresh one each update.

    Args:
        module: The module, not wrapped for data parallelism.
        config: The algorithm's settings for it.
        unroll: K and the mode, which is not ``auto``.

    Raises:
        ConfigError: the mode is ``auto``.
    """

    def __init__(self, module: TorchRLModule, config: PPOConfig, unroll: Unroll) -> None:
        self._mode = mode_of(unroll)
        self._settings = unroll
        self._loss = PPOLoss(module, config)
        self._gradient_clip = config.grad_clip or None  # RLlib's 0 is no clipping
        self._minibatches: list[Batch] = []

    def add(self, batch: Batch) -> None:
        """Keep a minibatch of the update, if it is one of the first K + 1."""
        if len(self._minibatches) <= self._settings.steps:
            self._minibatches.append(batch)

    def clear(self) -> None:
        """Forget the update's minibatches."""
        self._minibatches = []

    def gradients(
        self,
        coefficients: Coefficients,
        statistics: BatchStatistics,
        *,
        rates: float | Mapping[str, Tensor],
        share: float,
    ) -> ControllerGradients | None:
        """Sensitivity of the update's H and KL to its coefficients.

        Args:
            coefficients: τ and β that the update was made with.
            statistics: This rank's H and KL over the whole update.
            rates: Step size of every parameter, by the names of :attr:`params`; of a live Adam, from
                :func:`~maxent_ray.core.hypergradient.preconditioner.preconditioner`.
            share: Share of a gradient in the live step.

        Returns:
            The sensitivity; None when the update had fewer than K + 1 minibatches. Where it is not finite the
            controller skips the update (reason ``non_finite``).
        """
        entropy, kl = statistics.mean("policy_entropy"), statistics.mean("policy_kl")
        if len(self._minibatches) <= self._settings.steps or entropy is None or kl is None:
            return None
        found = self.differentiate(coefficients, rates)
        (entropy_tau, kl_tau), (entropy_beta, kl_beta) = (
            torch.as_tensor(row).tolist() for row in (found.tau, found.beta)
        )
        sensitivity = Sensitivity(
            entropy=entropy,
            kl=kl,
            entropy_tau=entropy_tau,
            entropy_beta=entropy_beta,
            kl_tau=kl_tau,
            kl_beta=kl_beta,
            steps=self._settings.steps,
            tokens=_timesteps(self._minibatches[-1]),
            tau=coefficients.tau,
            beta=coefficients.beta,
            version=coefficients.version,
            share=share,
        )
        return ControllerGradients(source="truncated_backprop", sensitivity=sensitivity)

    def differentiate(self, coefficients: Coefficients, rates: float | Mapping[str, Tensor]) -> Hypergradient:
        """H and KL on the held-out minibatch after K more steps, ``[2]`` (nats per timestep), and their derivatives."""
        *inner_batches, outer_batch = self._minibatches
        # in float64, which as 0-dim tensors do not change the module's precision
        at = torch.tensor([coefficients.tau, coefficients.beta], dtype=torch.float64, device=self._device)

        def inner(params: Params, tau_beta: CoefficientTensors, k: int) -> Tensor:
            return self._loss.loss(params, inner_batches[k], tau_beta)

        def outer(params: Params, tau_beta: CoefficientTensors) -> Tensor:
            return torch.stack(self._loss.signals(params, outer_batch)).double()

        return unrolled_gradients(
            inner,
            outer,
            self.params,
            (at[0], at[1]),
            steps=self._settings.steps,
            learning_rate=rates,
            mode=self._mode,
            checkpoint=self._settings.checkpoint,
            gradient_clip=self._gradient_clip,
        )

    @property
    def params(self) -> dict[str, Tensor]:
        """The module's trained parameters by name."""
        return self._loss.params

    @property
    def _device(self) -> torch.device:
        return next(iter(self.params.values())).device


def _timesteps(batch: Batch) -> int:
    mask = batch.get(Columns.LOSS_MASK)
    return len(batch[Columns.ACTIONS]) if mask is None else int(mask.sum())
