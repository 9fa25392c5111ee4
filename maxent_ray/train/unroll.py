"""Step 3b of the flow: what K further policy steps would do to H and KL, differentiated in τ and β."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from maxent_ray.config import GRPOConfig, WeightingSettings
from maxent_ray.core.hypergradient import Coefficients, Params, unrolled_gradients
from maxent_ray.core.objectives import Sensitivity
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.weighting import group_weights, weight_entropy, weight_kl
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.loss import LossTerms, policy_loss


def unroll_sensitivity(
    model: nn.Module,
    batch: PreparedBatch,
    tau: float,
    beta: float,
    *,
    steps: int,
    rates: Mapping[str, Tensor],
    grpo: GRPOConfig,
    weighting: WeightingSettings,
) -> Sensitivity:
    """Unroll K policy-gradient steps on the first groups of a batch and differentiate H and KL after them.

    The inner steps follow the live optimiser: η/(√v̂ + ε) of AdamW, frozen, as a diagonal preconditioner. The
    inner KL is over the full vocabulary whatever estimator the run trains with: differentiable, with low variance.
    A weight entropy does not depend on θ, so it is taken over the whole batch.

    Args:
        model: The policy, after its optimiser step.
        batch: The whole batch of this rank.
        tau: τ that the step trained with.
        beta: β that the step trained with.
        steps: K.
        rates: Step size of every parameter, from :func:`preconditioner`.
        grpo: Policy settings.
        weighting: Weighting settings; ``controller_meta.hypergradient_groups`` bounds the subset.

    Returns:
        H and KL after K steps, and their derivatives.
    """
    subset = batch.take(slice(0, weighting.controller_meta.hypergradient_groups))
    tokens = subset.rollout.completion_mask.sum()
    full_kl = grpo.model_copy(update={"kl_estimator": "full"})

    def evaluate(params: Params, coefficients: Coefficients) -> LossTerms:
        return policy_loss(
            model, subset, *coefficients, grpo=full_kl, weighting=weighting, params=params
        )

    def inner(params: Params, coefficients: Coefficients, k: int) -> Tensor:
        del k  # every inner step sees the same sequences
        return evaluate(params, coefficients).loss

    def outer(params: Params, coefficients: Coefficients) -> Tensor:
        terms = evaluate(params, coefficients)
        weights = group_weights(batch.log_q, batch.ref_logprobs, *coefficients)
        if weighting.entropy_signal == "weight_entropy":
            entropy = weight_entropy(weights).mean()
        else:
            entropy = terms.token_entropy.sum() / tokens
        if weighting.kl_signal == "policy_kl":
            kl = terms.mean_kl(tokens)
        else:
            kl = weight_kl(weights, batch.ref_logprobs).mean()
        return torch.stack([entropy, kl])

    params = dict(model.named_parameters())
    dtype = next(iter(params.values())).dtype
    coefficients = (torch.tensor(tau, dtype=dtype), torch.tensor(beta, dtype=dtype))
    device = batch.rewards.device
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        result = unrolled_gradients(
            inner,
            outer,
            params,
            (coefficients[0].to(device), coefficients[1].to(device)),
            steps=steps,
            learning_rate=rates,
            mode=weighting.controller_meta.hypergradient_mode,
        )
    (entropy, kl), (entropy_tau, kl_tau), (entropy_beta, kl_beta) = (
        torch.as_tensor(row).tolist() for row in (result.outer_value, result.tau, result.beta)
    )
    return Sensitivity(
        entropy=entropy,
        kl=kl,
        entropy_tau=entropy_tau,
        entropy_beta=entropy_beta,
        kl_tau=kl_tau,
        kl_beta=kl_beta,
        steps=steps,
        tokens=int(tokens),
    )


def debiased(sensitivity: Sensitivity, statistics: BatchStatistics, subset_kl: float, kl_signal: str) -> Sensitivity:
    """Replace the subset's KL level by the whole batch's, keeping the change that the K steps made.

    The subset is a small sample, but the same one before and after the unroll: KL_batch + (KL_K − KL_0) of the
    subset has the mean of KL_K and the variance of the batch (a control variate).

    Args:
        sensitivity: Of the unroll on the subset.
        statistics: Of the rank's whole batch, at the parameters the batch was sampled from.
        subset_kl: KL_0: the subset's KL at the same parameters (nats per token).
        kl_signal: The declared signal; a weight KL is taken over the whole batch already and stays.
    """
    batch_kl = statistics.mean("policy_kl")
    if kl_signal != "policy_kl" or batch_kl is None:
        return sensitivity
    return replace(sensitivity, kl=batch_kl + sensitivity.kl - subset_kl)


def preconditioner(model: nn.Module, optimizer: torch.optim.AdamW, clip_scale: float) -> dict[str, Tensor]:
    """Per-parameter step sizes of the live AdamW, η·c/(√v̂ + ε), frozen.

    Args:
        model: Owner of the parameters.
        optimizer: AdamW that has made at least one step on them.
        clip_scale: c, the factor that gradient clipping applied in the real step.

    Returns:
        A tensor for every named parameter, detached.
    """
    group = optimizer.param_groups[0]
    rates = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        correction = 1 - group["betas"][1] ** float(state["step"])
        root = (state["exp_avg_sq"] / correction).sqrt_()
        rates[name] = (group["lr"] * clip_scale) / root.add_(group["eps"])
    return rates
