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
from maxent_ray.policy import Predictions, Rollout, TokenValues, k3_kl, predict, sequence_mean, token_values
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
    entropy_gradient: bool = True,
) -> LossTerms:
    """Loss of a batch at the model's parameters, or at ``params``; differentiable in θ, τ and β.

    Coefficients that are formed from log π̄ are constants in θ, in an unroll too: what a second inner step would change
    in them is left out of its derivatives.

    Args:
        model: The policy's network.
        batch: What was sampled.
        tau: Entropy temperature τ.
        beta: KL coefficient β.
        grpo: Temperature, KL estimator and chunks.
        weighting: From rewards to coefficients; the one that the batch was prepared for.
        params: Parameters to evaluate at, by name; None for the model's own.
        kl_tokens: Divisor of the KL term's sum; None: the completion tokens of this batch. If every rank gives the mean
            of the ranks' counts, the mean of their losses is the loss of the whole batch.
        weights: ``[B, G]`` the groups' weights at τ and β, where they are known already.
        entropy_gradient: False where the tokens' entropy is measured alone.
    """
    values = values_of(model, batch.rollout, batch.ref, grpo, params, entropy_gradient=entropy_gradient)
    mean_logprobs = sequence_mean(values.logprobs, batch.rollout.completion_mask).detach().view_as(batch.rewards)
    shares = row_coefficients(batch, mean_logprobs, tau, beta, grpo=grpo, weighting=weighting, weights=weights)
    tokens = batch.rollout.completion_mask.sum() if kl_tokens is None else kl_tokens
    return terms_of(values, batch.rollout, shares, beta, grpo=grpo, kl_tokens=tokens)


def values_of(
    model: nn.Module,
    rollout: Rollout,
    reference: Predictions,
    grpo: GRPOConfig,
    params: Mapping[str, Tensor] | None = None,
    *,
    entropy_gradient: bool = True,
) -> TokenValues:
    """Log-probabilities, entropy and KL of a rollout's tokens at the model's parameters, or at ``params``."""
    predictions = predict(model, rollout, temperature=grpo.temperature, params=params)
    return token_values(
        predictions, reference, rollout, chunk_tokens=grpo.chunk_tokens, entropy_gradient=entropy_gradient
    )


def row_coefficients(
    batch: PreparedBatch,
    mean_logprobs: Float[Tensor, "B G"],
    tau: Coefficient,
    beta: Coefficient,
    *,
    grpo: GRPOConfig,
    weighting: Weighting,
    weights: Tensor | None = None,
) -> Float[Tensor, "N"]:
    """Coefficients of all log π̄ in the batch's loss, c_i/B.

    Args:
        batch: What was sampled.
        mean_logprobs: ``[B, G]`` log π̄ of each completion (nats), detached; not read by most weightings.
        tau: Entropy temperature τ.
        beta: KL coefficient β.
        grpo: Longest completion.
        weighting: From rewards to coefficients.
        weights: ``[B, G]`` the groups' weights at τ and β, where they are known already.
    """
    if weights is None:
        weights = weights_of(batch, weighting, tau, beta)
    lengths = token_shares(batch.rollout, grpo.max_new_tokens).view_as(batch.rewards)
    values = GroupValues(batch.rewards, mean_logprobs, lengths, weights)
    return coefficients(weighting, values, tau).flatten() / len(batch.rewards)


def terms_of(
    values: TokenValues,
    rollout: Rollout,
    shares: Float[Tensor, "n"],
    beta: Coefficient,
    *,
    grpo: GRPOConfig,
    kl_tokens: Tensor,
) -> LossTerms:
    """Part of some sequences in the loss of a batch: −Σ_i (c_i/B) log π̄_i + β·(their KL)/(the batch's tokens).

    Args:
        values: Of their tokens.
        rollout: The sequences.
        shares: ``[n]`` c_i/B of each.
        beta: KL coefficient β.
        grpo: KL estimator.
        kl_tokens: Completion tokens of the batch.
    """
    mask = rollout.completion_mask
    penalty = values.kl if grpo.kl_estimator == "full" else k3_kl(values.logprobs, values.ref_logprobs, mask)
    mean_logprobs = sequence_mean(values.logprobs, mask)
    loss = coefficient_loss(shares[None], mean_logprobs[None], penalty.sum() / kl_tokens, beta)
    return LossTerms(loss, values.kl, values.entropy)


def weights_of(
    batch: PreparedBatch, weighting: Weighting, tau: Coefficient, beta: Coefficient
) -> Float[Tensor, "B G"] | None:
    """Weights of a batch's groups at τ and β; None of a weighting that has none."""
    if batch.log_q is None:
        return None
    chosen = weight_coefficients(tau, beta, weighting.reference_in_weights)
    return group_weights(batch.log_q, batch.ref_logprobs, *chosen)
