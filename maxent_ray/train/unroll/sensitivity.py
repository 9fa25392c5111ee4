"""Sensitivity of H and KL after K further policy steps to τ and β: step 3b of the flow."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from maxent_ray.config import GRPOConfig
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.hypergradient import Mode, unrolled_gradients
from maxent_ray.core.objectives import Sensitivity, Unroll
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.weightings import MaxEntWeighting, Weighting
from maxent_ray.errors import ConfigError
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.unroll.policy_unroll import PolicyUnroll


def unroll_sensitivity(
    model: nn.Module,
    batch: PreparedBatch,
    statistics: BatchStatistics,
    coefficients: Coefficients,
    *,
    rates: Mapping[str, Tensor],
    share: float,
    grpo: GRPOConfig,
    controller: ControllerConfig,
    settings: Unroll,
    weighting: Weighting = MaxEntWeighting(),
) -> Sensitivity:
    """Unroll K policy-gradient steps on the first groups of a batch and differentiate H and KL after them.

    The inner steps follow the live optimiser through
    :func:`~maxent_ray.core.hypergradient.preconditioner.preconditioner`.

    Args:
        model: The policy, after its optimiser step.
        batch: The whole batch of this rank.
        statistics: Measured on it, before the optimiser step.
        coefficients: τ and β that the step trained with.
        rates: Step size of every parameter, from ``preconditioner``.
        share: Share of a gradient in the live step, from ``gradient_share``.
        grpo: Policy settings.
        controller: The controller's settings, which name the signals.
        settings: K, the mode, and the size of the subset.
        weighting: From rewards to coefficients.

    Returns:
        H and KL after K steps, and their derivatives.

    Raises:
        ConfigError: the mode is ``auto``, which
            :class:`~maxent_ray.train.unroll.hypergradients.WorkerHypergradients` resolves.
    """
    if settings.mode == "auto":
        raise ConfigError("the unroll's mode is 'auto'; it must be resolved to forward, reverse or first_order")
    unroll = PolicyUnroll.over(
        model, batch, grpo=grpo, weighting=weighting, controller=controller, groups=settings.groups
    )
    return differentiate(
        unroll,
        statistics,
        coefficients,
        steps=settings.steps,
        rates=rates,
        share=share,
        mode=settings.mode,
        checkpoint=settings.checkpoint,
    )


def differentiate(
    unroll: PolicyUnroll,
    statistics: BatchStatistics,
    coefficients: Coefficients,
    *,
    steps: int,
    rates: Mapping[str, Tensor],
    share: float,
    mode: Mode,
    checkpoint: bool,
) -> Sensitivity:
    """H and KL after K steps and their derivatives, in one mode.

    Args:
        unroll: The functions to unroll.
        statistics: Of this rank's whole batch, before the optimiser step.
        coefficients: τ and β that the step trained with.
        steps: K.
        rates: Step size of every parameter.
        share: Share of a gradient in the live step.
        mode: How to differentiate.
        checkpoint: ``reverse`` only: compute the inner steps twice instead of keeping them.

    Returns:
        Derivatives of this rank's groups, or with ``unroll.ranks`` of all ranks' groups: then equal on all of them.
    """
    # 0-dim float64 coefficients do not change the model's precision; in bfloat16 they would have two digits.
    at = torch.tensor([coefficients.tau, coefficients.beta], dtype=torch.float64, device=unroll.batch.rewards.device)
    tau, beta = at
    before = unroll.policy_kl((tau, beta))
    with attention_for(mode):
        result = unrolled_gradients(
            unroll.inner,
            unroll.outer,
            unroll.params,
            (tau, beta),
            steps=steps,
            learning_rate=rates,
            mode=mode,
            checkpoint=checkpoint,
            mean_over_ranks=None if unroll.ranks is None else unroll.ranks.mean,
        )
    (entropy, kl), (entropy_tau, kl_tau), (entropy_beta, kl_beta) = (
        torch.as_tensor(row).tolist() for row in (result.outer_value, result.tau, result.beta)
    )
    return Sensitivity(
        entropy=entropy,
        kl=kl + _level_change(unroll, before, statistics),
        entropy_tau=entropy_tau,
        entropy_beta=entropy_beta,
        kl_tau=kl_tau,
        kl_beta=kl_beta,
        steps=steps,
        tokens=int(unroll.outer_batch.rollout.completion_mask.sum()),
        tau=coefficients.tau,
        beta=coefficients.beta,
        version=coefficients.version,
        share=share,
    )


def attention_for(mode: Mode) -> AbstractContextManager[object]:
    """Context with attention that a mode can differentiate: fused kernels have no second derivative.

    First order needs none.
    """
    return nullcontext() if mode == "first_order" else sdpa_kernel(SDPBackend.MATH)


def _level_change(unroll: PolicyUnroll, before: Tensor, statistics: BatchStatistics) -> float:
    """Correction of KL from the level of the subset to that of the whole batch (nats per token).

    The subset is a small sample, but the same one before and after the unroll: KL_batch + (KL_K − KL_0) of the
    subset has nearly the variance of the batch (a control variate). KL_batch is from before the real step, KL_0 from
    after it, because a batch's own step lowers KL on that batch more than anywhere else. A weight KL is taken over the
    whole batch already; a policy entropy has no such correction.
    """
    if unroll.controller.kl_signal != "policy_kl":
        return 0.0
    measured = statistics.policy_kl_sum
    level = before.new_tensor([0.0, 0.0] if measured is None else [measured, statistics.tokens])
    if unroll.ranks is not None:
        before, level = unroll.ranks.mean([before, level])
    return float(level[0] / level[1] - before) if level[1] > 0 else 0.0
