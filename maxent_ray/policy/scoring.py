"""Score sampled completions under a policy: log-probabilities, entropy and KL per token.

Symbols: N sequences, C completion tokens, V vocabulary. All in nats. Values at padding are 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from maxent_ray.core.weighting import expectation
from maxent_ray.policy.forward import last_logits
from maxent_ray.policy.rollout import Rollout


class TokenScores(NamedTuple):
    """Log-probabilities of every completion token under a policy.

    Attributes:
        logprobs: log π(y_t | y_<t) of the sampled tokens; 0 at padding.
        full_logprobs: log π(· | y_<t) over the whole vocabulary; not masked.
    """

    logprobs: Float[Tensor, "N C"]
    full_logprobs: Float[Tensor, "N C V"]


def completion_logits(
    model: PreTrainedModel, rollout: Rollout, params: Mapping[str, Tensor] | None = None
) -> Float[Tensor, "N C V"]:
    """Compute the logits that predict each completion token, in one full forward pass.

    Differentiable in the model's parameters, or in `params` where given. For second derivatives, run it and
    the loss under `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`: fused kernels have no double
    backward. Dropout acts if the model is in train mode.

    Args:
        model: The policy or the reference.
        rollout: The sampled sequences.
        params: Replaces the model's parameters, keyed like `model.named_parameters()` (tied weights
            under their one name there); the model itself is not changed.

    Returns:
        Logits at the positions just before each completion token; undefined at padding.

    Example:
        >>> from maxent_ray.policy import load_policy, sample_groups
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> rollout = sample_groups(
        ...     policy, ["2,3,4=9:"], group_size=2, max_new_tokens=8, temperature=1.0, seed=0
        ... )
        >>> completion_logits(policy.model, rollout).shape[:2] == rollout.completion_mask.shape
        True
    """
    count = rollout.completion_mask.shape[1]
    return last_logits(model, rollout.input_ids[:, :-1], rollout.attention_mask[:, :-1], count, params)


def full_logprobs(logits: Float[Tensor, "*N V"], temperature: float = 1.0) -> Float[Tensor, "*N V"]:
    """Normalise the logits of the policy that is sampled: log softmax(logits / temperature).

    In float32, or in float64 if the logits are.

    Args:
        logits: From `completion_logits`.
        temperature: The temperature of the sampling.

    Returns:
        log π(· | y_<t), nats.

    Example:
        >>> full_logprobs(torch.tensor([[[0.0, 0.0]]]))
        tensor([[[-0.6931, -0.6931]]])
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    # At temperature 1 a division would be a copy of the largest tensor of a step.
    return torch.log_softmax(wide if temperature == 1.0 else wide / temperature, dim=-1)


def score(
    model: PreTrainedModel,
    rollout: Rollout,
    *,
    temperature: float = 1.0,
    params: Mapping[str, Tensor] | None = None,
) -> TokenScores:
    """Score a rollout under a model.

    Args:
        model: The policy or the reference.
        rollout: The sampled sequences.
        temperature: The temperature of the sampling.
        params: As in `completion_logits`.

    Returns:
        Log-probabilities of the sampled tokens and of the whole vocabulary.

    Example:
        >>> from maxent_ray.policy import load_policy, sample_groups
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> rollout = sample_groups(
        ...     policy, ["2,3,4=9:"], group_size=2, max_new_tokens=8, temperature=1.0, seed=0
        ... )
        >>> with torch.no_grad():
        ...     score(policy.model, rollout).logprobs.shape == rollout.completion_mask.shape
        True
    """
    log_probs = full_logprobs(completion_logits(model, rollout, params), temperature)
    return TokenScores(_sampled(log_probs, rollout), log_probs)


def token_logprobs(
    logits: Float[Tensor, "N C V"], rollout: Rollout, temperature: float = 1.0
) -> Float[Tensor, "N C"]:
    """Look up log π(y_t | y_<t) of the sampled tokens.

    Args:
        logits: From `completion_logits`.
        rollout: The sampled sequences.
        temperature: The temperature of the sampling.

    Returns:
        Nats; 0 at padding.
    """
    return _sampled(full_logprobs(logits, temperature), rollout)


def token_entropy(log_probs: Float[Tensor, "N C V"], mask: Bool[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    """H(π(· | y_<t)) = −Σ_v π_v log π_v.

    Args:
        log_probs: Over the whole vocabulary; −inf at tokens that the model rules out.
        mask: True at completion tokens.

    Returns:
        Nats per token, 0 … log V; 0 at padding.

    Example:
        >>> uniform = torch.full((1, 2, 4), 0.25).log()
        >>> token_entropy(uniform, torch.tensor([[True, False]]))
        tensor([[1.3863, 0.0000]])
    """
    return _masked(-expectation(log_probs.exp(), log_probs), mask)


def token_kl(
    log_probs: Float[Tensor, "N C V"], ref_log_probs: Float[Tensor, "N C V"], mask: Bool[Tensor, "N C"]
) -> Float[Tensor, "N C"]:
    """KL(π ‖ π_ref) = Σ_v π_v (log π_v − log π_ref,v) over the whole vocabulary, at each sampled prefix.

    Args:
        log_probs: Of the policy; −inf at tokens that it rules out, which count for nothing.
        ref_log_probs: Of the reference.
        mask: True at completion tokens.

    Returns:
        Nats per token, not negative, infinite where the reference rules out what the policy does not; 0 at padding.

    Example:
        >>> log_probs = torch.tensor([[[0.5, 0.5]]]).log()
        >>> token_kl(log_probs, torch.tensor([[[0.25, 0.75]]]).log(), torch.tensor([[True]]))
        tensor([[0.1438]])
    """
    return _masked(expectation(log_probs.exp(), log_probs - ref_log_probs), mask)


def k3_kl(
    logprobs: Float[Tensor, "N C"], ref_logprobs: Float[Tensor, "N C"], mask: Bool[Tensor, "N C"]
) -> Float[Tensor, "N C"]:
    """Estimate KL(π ‖ π_ref) from the sampled token alone: e^d − d − 1 with d = log π_ref − log π.

    Unbiased for tokens drawn from π, and never negative.

    Args:
        logprobs: Of the sampled tokens under the policy.
        ref_logprobs: Of the same tokens under the reference.
        mask: True at completion tokens.

    Returns:
        Nats per token; 0 at padding.

    Example:
        >>> k3_kl(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))
        tensor([[0.]])

    Source:
        Schulman, "Approximating KL divergence" (2020), estimator k3.
    """
    difference = ref_logprobs - logprobs
    return _masked(torch.expm1(difference) - difference, mask)


def sequence_mean(values: Float[Tensor, "N C"], mask: Bool[Tensor, "N C"]) -> Float[Tensor, "N"]:
    """Average over the completion tokens of each sequence; each has at least one.

    Args:
        values: Per token; ignored at padding.
        mask: True at completion tokens.

    Returns:
        One mean a sequence, in the unit of `values`.

    Example:
        >>> sequence_mean(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]))
        tensor([2.])
    """
    return _masked(values, mask).sum(dim=-1) / mask.sum(dim=-1)


def _sampled(log_probs: Float[Tensor, "N C V"], rollout: Rollout) -> Float[Tensor, "N C"]:
    chosen = log_probs.gather(-1, rollout.completion_ids.unsqueeze(-1)).squeeze(-1)
    return _masked(chosen, rollout.completion_mask)


def _masked(values: Float[Tensor, "N C"], mask: Bool[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    # Not a product: a non-finite value at padding would make NaN of it.
    return values.masked_fill(~mask, 0.0)
