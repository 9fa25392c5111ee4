"""Step 3b of the flow: what K further policy steps would do to H and KL, differentiated in τ and β."""

from __future__ import annotations

from collections.abc import Mapping

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
    statistics: BatchStatistics,
    tau: float,
    beta: float,
    *,
    steps: int,
    rates: Mapping[str, Tensor],
    grpo: GRPOConfig,
    weighting: WeightingSettings,
) -> Sensitivity:
    """Unroll K policy-gradient steps on the first groups of a batch and differentiate H and KL after them.

    The inner steps follow the live optimiser through :func:`preconditioner`. The
    inner KL is over the full vocabulary whatever estimator the run trains with: differentiable, with low variance.
    A weight entropy does not depend on θ, so it is taken over the whole batch.

    Args:
        model: The policy, after its optimiser step.
        batch: The whole batch of this rank.
        statistics: Measured on it, before the optimiser step.
        tau: τ that the step trained with.
        beta: β that the step trained with.
        steps: K.
        rates: Step size of every parameter, from :func:`preconditioner`.
        grpo: Policy settings.
        weighting: Weighting settings; ``controller_meta.hypergradient_groups`` bounds the subset.

    Returns:
        H and KL after K steps, and their derivatives.
    """
    inner_groups, outer_groups = split_groups(batch, weighting)
    seen, unseen = batch.take(inner_groups), batch.take(outer_groups)
    tokens = unseen.rollout.completion_mask.sum()
    rho = batch.ref_logprobs.double()  # in float32, dH/dτ loses its sign where the weights are nearly flat or 0
    full_kl = grpo.model_copy(update={"kl_estimator": "full"})

    def evaluate(groups: PreparedBatch, params: Params, coefficients: Coefficients) -> LossTerms:
        return policy_loss(model, groups, *coefficients, grpo=full_kl, weighting=weighting, params=params)

    def inner(params: Params, coefficients: Coefficients, k: int) -> Tensor:
        del k  # every inner step sees the same sequences
        return evaluate(seen, params, coefficients).loss

    def outer(params: Params, coefficients: Coefficients) -> Tensor:
        terms = evaluate(unseen, params, coefficients)
        weights = group_weights(batch.log_q.double(), rho, *coefficients)
        if weighting.entropy_signal == "weight_entropy":
            entropy = weight_entropy(weights).mean()
        else:
            entropy = terms.token_entropy.sum() / tokens
        kl = terms.mean_kl(tokens) if weighting.kl_signal == "policy_kl" else weight_kl(weights, rho).mean()
        return torch.stack([entropy.double(), kl.double()])

    # 0-dim float64 coefficients leave the model's precision alone; in bfloat16 they would have two digits.
    leaves = torch.tensor([tau, beta], dtype=torch.float64, device=rho.device)
    params = dict(model.named_parameters())
    with torch.no_grad():
        before = evaluate(unseen, params, (leaves[0], leaves[1])).mean_kl(tokens)
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        result = unrolled_gradients(
            inner,
            outer,
            params,
            (leaves[0], leaves[1]),
            steps=steps,
            learning_rate=rates,
            mode=weighting.controller_meta.hypergradient_mode,
        )
    (entropy, kl), (entropy_tau, kl_tau), (entropy_beta, kl_beta) = (
        torch.as_tensor(row).tolist() for row in (result.outer_value, result.tau, result.beta)
    )
    return Sensitivity(
        entropy=entropy,
        kl=_level(kl, float(before), statistics, weighting),
        entropy_tau=entropy_tau,
        entropy_beta=entropy_beta,
        kl_tau=kl_tau,
        kl_beta=kl_beta,
        steps=steps,
        tokens=int(tokens),
    )


def split_groups(batch: PreparedBatch, weighting: WeightingSettings) -> tuple[slice, slice]:
    """Groups that the inner steps run over, and groups that H and KL are measured on afterwards.

    Disjoint, so at most half of the batch each: inner steps lower KL on their own sequences more than anywhere else,
    and measuring there would read that as success. A batch of a single group has no choice.
    """
    there = batch.rollout.group_count
    count = max(1, min(weighting.controller_meta.hypergradient_groups, there // 2))
    start = min(count, there - count)
    return slice(0, count), slice(start, start + count)


def _level(kl: float, before: float, statistics: BatchStatistics, weighting: WeightingSettings) -> float:
    """KL after K steps, with the subset's level replaced by the whole batch's.

    The subset is a small sample, but the same one before and after the unroll: KL_batch + (KL_K − KL_0) of the
    subset has nearly the variance of the batch (a control variate). KL_batch is from before the real step, KL_0 from
    after it, because a batch's own step lowers KL on that batch more than anywhere else. A weight KL is taken over the
    whole batch already; a policy entropy has no such correction.
    """
    batch_kl = statistics.mean("policy_kl")
    if weighting.kl_signal != "policy_kl" or batch_kl is None:
        return kl
    return batch_kl + kl - before


def preconditioner(model: nn.Module, optimizer: torch.optim.AdamW, clip_scale: float) -> dict[str, Tensor]:
    """Step sizes with which one batch's gradient enters the live AdamW step, frozen.

    AdamW moves θ by −η m̂/(√v̂ + ε), and a new gradient g enters m̂ with the share (1 − β₁)/(1 − β₁ᵗ). So the part
    of a step that τ and β can still move is −η c (1 − β₁)/(1 − β₁ᵗ)/(√v̂ + ε) · g; the rest is momentum of earlier
    batches, a constant. Leaving the share out makes inner steps ten times too long: they leave the region where the
    policy is anything like itself, and their sensitivities are noise.

    Args:
        model: Owner of the parameters.
        optimizer: AdamW that has made at least one step on them.
        clip_scale: c, the factor that gradient clipping applied in the real step.

    Returns:
        A tensor for every named parameter, detached.
    """
    group = optimizer.param_groups[0]
    first_decay, second_decay = group["betas"]
    rates = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter)
        if not state:  # a frozen or unused parameter: the real step leaves it where it is
            rates[name] = torch.zeros_like(parameter, requires_grad=False)
            continue
        updates = float(state["step"])
        share = (1 - first_decay) / (1 - first_decay**updates)
        root = (state["exp_avg_sq"] / (1 - second_decay**updates)).sqrt_()
        rates[name] = (group["lr"] * clip_scale * share) / root.add_(group["eps"])
    return rates
