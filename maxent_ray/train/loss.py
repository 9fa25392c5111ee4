"""Step 2 of the flow: weights → policy loss, as a function of (θ, τ, β), for the optimiser step and for the unroll."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from maxent_ray.config import GRPOConfig
from maxent_ray.core.policy_loss import coefficient_loss
from maxent_ray.core.weighting import Coefficient, group_weights, weight_coefficients
from maxent_ray.core.weightings import MaxEntWeighting, Weighting
from maxent_ray.core.weightings.coefficients import GroupValues, coefficients
from maxent_ray.policy import k3_kl, score, sequence_mean, token_entropy, token_kl
from maxent_ray.train.batch import PreparedBatch, token_shares


class LossTerms(NamedTuple):
    """The policy loss of a batch, with token KL and entropy; per-token values are 0 at padding."""

    loss: Float[Tensor, ""]
    token_kl: Float[Tensor, "N C"]
    """KL(π_θ‖π_ref) at each completion token, over the full vocabulary (nats)."""
    token_entropy: Float[Tensor, "N C"]
    """Entropy of π_θ at each completion token (nats)."""

    def mean_kl(self, tokens: Tensor) -> Float[Tensor, ""]:
        """Mean over ``tokens`` completion tokens (nats per token)."""
        return self.token_kl.sum() / tokens


def policy_loss(
    model: nn.Module,
    batch: PreparedBatch,
    tau: Coefficient,
    beta: Coefficient,
    *,
    grpo: GRPOConfig,
    weighting: Weighting = MaxEntWeighting(),
    params: Mapping[str, Tensor] | None = None,
    kl_tokens: Tensor | None = None,
    weights: Tensor | None = None,
) -> LossTerms:
    """Loss of a batch at the model's parameters, or at ``params``; differentiable in θ, τ and β.

    Coefficients that are formed from log π̄ are constants in θ, in an unroll too: what a second inner step would change
    in them is left out of its derivatives.

    Args:
        model: The policy's network.
        batch: What was sampled.
        tau: Entropy temperature τ.
        beta: KL coefficient β.
        grpo: Temperature and KL estimator.
        weighting: From rewards to coefficients; the one that the batch was prepared for.
        params: Parameters to evaluate at, by name; None for the model's own.
        kl_tokens: Divisor of the KL term's sum; None: the completion tokens of this batch. If every rank gives the mean
            of the ranks' counts, the mean of their losses is the loss of the whole batch.
        weights: ``[B, G]`` the groups' weights at τ and β, where they are known already.
    """
    rollout, mask = batch.rollout, batch.rollout.completion_mask
    scores = score(model, rollout, temperature=grpo.temperature, params=params)  # type: ignore[arg-type]
    mean_logprobs = sequence_mean(scores.logprobs, mask).view_as(batch.rewards)
    kl = token_kl(scores.full_logprobs, batch.ref.full_logprobs, mask)
    penalty = kl if grpo.kl_estimator == "full" else k3_kl(scores.logprobs, batch.ref.logprobs, mask)
    mean_kl = penalty.sum() / (mask.sum() if kl_tokens is None else kl_tokens)
    if weights is None:
        weights = weights_of(batch, weighting, tau, beta)
    lengths = token_shares(rollout, grpo.max_new_tokens).view_as(batch.rewards)
    values = GroupValues(batch.rewards, mean_logprobs.detach(), lengths, weights)
    loss = coefficient_loss(coefficients(weighting, values, tau), mean_logprobs, mean_kl, beta)
    return LossTerms(loss, kl, token_entropy(scores.full_logprobs, mask))


def weights_of(
    batch: PreparedBatch, weighting: Weighting, tau: Coefficient, beta: Coefficient
) -> Float[Tensor, "B G"] | None:
    """Weights of a batch's groups at τ and β; None of a weighting that has none."""
    if batch.log_q is None:
        return None
    chosen = weight_coefficients(tau, beta, weighting.reference_in_weights)
    return group_weights(batch.log_q, batch.ref_logprobs, *chosen)
