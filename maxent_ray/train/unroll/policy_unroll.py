"""Step 3b of the flow: what K further policy steps would do to H and KL, differentiated in τ and β."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from maxent_ray.config import GRPOConfig, WeightingSettings
from maxent_ray.core.hypergradient import CoefficientTensors, Mode, Params, unrolled_gradients
from maxent_ray.core.objectives import Sensitivity
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.weighting import group_weights, weight_entropy, weight_kl
from maxent_ray.errors import ConfigError
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.loss import LossTerms, policy_loss
from maxent_ray.train.unroll.rank_sync import UnrollRanks

Precision = Callable[[], AbstractContextManager[object]]
"""Makes the context of one forward pass, such as autocast to bfloat16."""


@dataclass(frozen=True)
class PolicyUnroll:
    """The inner and the outer function of an unroll, over one batch's groups."""

    model: nn.Module
    batch: PreparedBatch
    seen: PreparedBatch
    """Groups that the inner steps run over."""
    unseen: PreparedBatch
    """Groups that H and KL are measured on."""
    seen_tokens: Tensor
    """Completion tokens of ``seen``; with ``ranks``, the mean over ranks, so that the mean of their losses is the
    loss of all of them together."""
    unseen_tokens: Tensor
    """Likewise of ``unseen``."""
    grpo: GRPOConfig
    weighting: WeightingSettings
    precision: Precision
    ranks: UnrollRanks | None
    """Ranks that unroll together; None: this one alone."""

    @classmethod
    def over(
        cls,
        model: nn.Module,
        batch: PreparedBatch,
        *,
        grpo: GRPOConfig,
        weighting: WeightingSettings,
        precision: Precision = nullcontext,
        ranks: UnrollRanks | None = None,
    ) -> PolicyUnroll:
        """Split a batch. The inner KL is over the full vocabulary whatever the run trains with: low variance."""
        seen, unseen = (batch.take(groups) for groups in split_groups(batch, weighting))
        tokens = [part.rollout.completion_mask.sum().double() for part in (seen, unseen)]
        seen_tokens, unseen_tokens = tokens if ranks is None else ranks.mean(tokens)
        full_kl = grpo.model_copy(update={"kl_estimator": "full"})
        return cls(
            model, batch, seen, unseen, seen_tokens, unseen_tokens, full_kl, weighting, precision=precision, ranks=ranks
        )

    @property
    def params(self) -> dict[str, Tensor]:
        """What is trained; frozen parameters stay the model's own."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def inner(self, params: Params, coefficients: CoefficientTensors, k: int) -> Tensor:
        """Policy loss; every inner step sees the same sequences."""
        del k
        return self._evaluate(self.seen, params, coefficients, self.seen_tokens).loss

    def outer(self, params: Params, coefficients: CoefficientTensors) -> Tensor:
        """H and KL. Those of the weights do not depend on θ, so they are taken over the whole batch."""
        rho = self.batch.ref_logprobs.double()  # in float32, dH/dτ loses its sign where weights are nearly flat or 0
        weights = group_weights(self.batch.log_q.double(), rho, *coefficients)
        entropy, kl = weight_entropy(weights).mean(), weight_kl(weights, rho).mean()
        signals = (self.weighting.entropy_signal, self.weighting.kl_signal)
        if signals != ("weight_entropy", "weight_kl"):
            terms = self._evaluate(self.unseen, params, coefficients, self.unseen_tokens)
            if self.weighting.entropy_signal == "policy_entropy":
                entropy = terms.token_entropy.sum().double() / self.unseen_tokens
            if self.weighting.kl_signal == "policy_kl":
                kl = terms.mean_kl(self.unseen_tokens).double()
        return torch.stack([entropy, kl])

    def policy_kl(self, coefficients: CoefficientTensors) -> Tensor:
        """KL on the unseen groups as the model is now (nats per token)."""
        with torch.no_grad():
            terms = self._evaluate(self.unseen, self.params, coefficients, self.unseen_tokens)
            return terms.mean_kl(self.unseen_tokens).double()

    def _evaluate(
        self, groups: PreparedBatch, params: Params, coefficients: CoefficientTensors, tokens: Tensor
    ) -> LossTerms:
        # a context for each pass: autocast would otherwise keep a copy of every step's parameters until the end
        with self.precision():
            return policy_loss(
                self.model,
                groups,
                *coefficients,
                grpo=self.grpo,
                weighting=self.weighting,
                params=params,
                kl_tokens=tokens.to(groups.rewards.dtype),
            )


def unroll_sensitivity(
    model: nn.Module,
    batch: PreparedBatch,
    statistics: BatchStatistics,
    coefficients: Coefficients,
    *,
    steps: int,
    rates: Mapping[str, Tensor],
    share: float,
    grpo: GRPOConfig,
    weighting: WeightingSettings,
) -> Sensitivity:
    """Unroll K policy-gradient steps on the first groups of a batch and differentiate H and KL after them.

    The inner steps follow the live optimiser through :func:`preconditioner`.

    Args:
        model: The policy, after its optimiser step.
        batch: The whole batch of this rank.
        statistics: Measured on it, before the optimiser step.
        coefficients: τ and β that the step trained with.
        steps: K.
        rates: Step size of every parameter, from :func:`preconditioner`.
        share: Share of a gradient in the live step, from :func:`gradient_share`.
        grpo: Policy settings.
        weighting: Weighting settings; ``controller_meta`` says how to differentiate, and bounds the subset.

    Returns:
        H and KL after K steps, and their derivatives.

    Raises:
        ConfigError: ``hypergradient_mode`` is ``auto``: what it means is decided by
            :class:`~maxent_ray.train.unroll.hypergradients.WorkerHypergradients`.
    """
    meta = weighting.controller_meta
    if meta.hypergradient_mode == "auto":
        raise ConfigError("hypergradient_mode is 'auto'; it must be resolved to forward, reverse or first_order")
    unroll = PolicyUnroll.over(model, batch, grpo=grpo, weighting=weighting)
    return differentiate(
        unroll,
        statistics,
        coefficients,
        steps=steps,
        rates=rates,
        share=share,
        mode=meta.hypergradient_mode,
        checkpoint=meta.hypergradient_checkpoint,
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
    # 0-dim float64 coefficients leave the model's precision alone; in bfloat16 they would have two digits.
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
        tokens=int(unroll.unseen.rollout.completion_mask.sum()),
        tau=coefficients.tau,
        beta=coefficients.beta,
        version=coefficients.version,
        share=share,
    )


def attention_for(mode: Mode) -> AbstractContextManager[object]:
    """Attention that a mode can differentiate: fused kernels have no second derivative, and first order needs none."""
    return nullcontext() if mode == "first_order" else sdpa_kernel(SDPBackend.MATH)


def _level_change(unroll: PolicyUnroll, before: Tensor, statistics: BatchStatistics) -> float:
    """What replaces the subset's level of KL by the whole batch's.

    The subset is a small sample, but the same one before and after the unroll: KL_batch + (KL_K − KL_0) of the
    subset has nearly the variance of the batch (a control variate). KL_batch is from before the real step, KL_0 from
    after it, because a batch's own step lowers KL on that batch more than anywhere else. A weight KL is taken over the
    whole batch already; a policy entropy has no such correction.
    """
    if unroll.weighting.kl_signal != "policy_kl":
        return 0.0
    level = before.new_tensor([statistics.policy_kl_sum, statistics.tokens])
    if unroll.ranks is not None:
        before, level = unroll.ranks.mean([before, level])
    return float(level[0] / level[1] - before) if level[1] > 0 else 0.0


def split_groups(batch: PreparedBatch, weighting: WeightingSettings) -> tuple[slice, slice]:
    """Groups that the inner steps run over, and groups that H and KL are measured on afterwards.

    Disjoint, so at most half of the batch each: inner steps lower KL on their own sequences more than anywhere else,
    and measuring there would read that as success. A batch of a single group has no choice.
    """
    there = batch.rollout.group_count
    count = max(1, min(weighting.controller_meta.hypergradient_groups, there // 2))
    start = min(count, there - count)
    return slice(0, count), slice(start, start + count)


def preconditioner(model: nn.Module, optimizer: torch.optim.AdamW, clip_scale: float) -> dict[str, Tensor]:
    """Step sizes with which one batch's gradient enters the live AdamW step, frozen.

    AdamW moves θ by −η m̂/(√v̂ + ε), and a new gradient g enters m̂ with the share (1 − β₁)/(1 − β₁ᵗ). So the part
    of a step that τ and β can still move is −η c (1 − β₁)/(1 − β₁ᵗ)/(√v̂ + ε) · g; the rest is momentum of earlier
    batches, a constant. Leaving the share out makes inner steps ten times too long: they leave the region where the
    policy is anything like itself, and their sensitivities are noise.

    Clipping enters as the factor c of the real step, a constant: the inner steps see a subset of the batch, whose
    gradient norm is noisier and larger than the batch's, and would be clipped where the real step is not. (The core's
    ``gradient_clip`` is for inner steps that clip for themselves.)

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
        share = _share(first_decay, updates)
        root = (state["exp_avg_sq"] / (1 - second_decay**updates)).sqrt_()
        rates[name] = (group["lr"] * clip_scale * share) / root.add_(group["eps"])
    return rates


def gradient_share(optimizer: torch.optim.AdamW) -> float:
    """Share of one batch's gradient in AdamW's step: (1 − β₁)/(1 − β₁ᵗ) after t updates."""
    first_decay = float(optimizer.param_groups[0]["betas"][0])
    updates = max((float(state["step"]) for state in optimizer.state.values()), default=1.0)
    return _share(first_decay, updates)


def _share(first_decay: float, updates: float) -> float:
    share: float = (1 - first_decay) / (1 - first_decay**updates)
    return share
