"""Log-probabilities, entropy and KL of completion tokens, without a tensor of all tokens by the vocabulary.

A pass gives hidden states. Logits of policy and reference are formed for a chunk of tokens at a time, and formed again
in the backward pass: memory grows with the chunk, not with the batch.

Symbols: N sequences, C completion tokens, D width of the states, V vocabulary. All in nats. Values at padding are 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maxent_ray.core.weighting import expectation
from maxent_ray.policy.output_head import Head, states_and_head
from maxent_ray.policy.rollout import Rollout
from maxent_ray.policy.scoring import full_logprobs

CHUNK_LOGITS = 2**26
"""Logits of a chunk where none is set: 268 MB in float32, of which a pass holds a few."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Next-token distributions at every completion token, as states and the head that reads them.

    Attributes:
        states: Hidden states; those at padding are undefined.
        head: From states to logits.
        temperature: Of the sampling; divides the logits.
    """

    states: Float[Tensor, "N C D"]
    head: Head
    temperature: float

    @property
    def full_logprobs(self) -> Float[Tensor, "N C V"]:
        """log π(· | y_<t) over the whole vocabulary, of all tokens at once: large."""
        return self.logprobs_at(self.states)

    def logprobs_at(self, states: Float[Tensor, "*N D"]) -> Float[Tensor, "*N V"]:
        """log π(· | y_<t) over the whole vocabulary, at some states; in float32 or float64."""
        return full_logprobs(self.head(states), self.temperature)

    def take(self, rows: Int[Tensor, "n"], width: int | None = None) -> Predictions:
        """Select some sequences, and their first ``width`` completion tokens."""
        return replace(self, states=self.states[rows, :width])


class TokenValues(NamedTuple):
    """Values of every completion token; all 0 at padding.

    Attributes:
        logprobs: log π(y_t | y_<t) of the sampled tokens.
        ref_logprobs: The same under the reference; no gradient flows through it.
        entropy: H(π(· | y_<t)).
        kl: KL(π ‖ π_ref) over the whole vocabulary.
    """

    logprobs: Float[Tensor, "N C"]
    ref_logprobs: Float[Tensor, "N C"]
    entropy: Float[Tensor, "N C"]
    kl: Float[Tensor, "N C"]


def predict(
    network: nn.Module, rollout: Rollout, *, temperature: float = 1.0, params: Mapping[str, Tensor] | None = None
) -> Predictions:
    """Read whole sequences once.

    Differentiable in the model's parameters, or in ``params``. For second derivatives, run it and the loss under
    ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``: fused kernels have no double backward.

    Args:
        network: The policy or the reference; may be in ``DistributedDataParallel``.
        rollout: The sampled sequences.
        temperature: The temperature of the sampling.
        params: Replaces the model's parameters, keyed like ``model.named_parameters()``.

    Example:
        >>> from maxent_ray.policy import load_policy, sample_groups
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> rollout = sample_groups(
        ...     policy, ["2,3,4=9:"], group_size=2, max_new_tokens=8, temperature=1.0, seed=0
        ... )
        >>> predict(policy.model, rollout).states.shape[:2] == rollout.completion_mask.shape
        True
    """
    states, head = states_and_head(network, rollout, params)
    return Predictions(states, head, temperature)


def token_values(
    policy: Predictions,
    reference: Predictions,
    rollout: Rollout,
    *,
    chunk_tokens: int | None = None,
    entropy_gradient: bool = True,
) -> TokenValues:
    """Compute log-probabilities, entropy and KL of every completion token.

    Differentiable in the states and the head of the policy, twice too.

    Args:
        policy: π.
        reference: π_ref, without gradients.
        rollout: The sampled sequences.
        chunk_tokens: Tokens whose logits are in memory at a time; None: as many as have :data:`CHUNK_LOGITS` logits.
        entropy_gradient: False leaves the entropy out of the backward pass, where it is measured alone.

    Example:
        >>> from maxent_ray.policy import load_policy, sample_groups
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> rollout = sample_groups(
        ...     policy, ["2,3,4=9:"], group_size=2, max_new_tokens=8, temperature=1.0, seed=0
        ... )
        >>> predictions = predict(policy.model, rollout)
        >>> values = token_values(predictions, predictions, rollout, chunk_tokens=3)
        >>> bool((values.kl == 0).all()), bool((values.entropy >= 0).all())
        (True, True)
    """
    mask = rollout.completion_mask

    def of_chunk(states: Tensor, ref_states: Tensor, tokens: Tensor) -> Tensor:
        log_probs = policy.logprobs_at(states)
        with torch.no_grad():
            ref_log_probs = reference.logprobs_at(ref_states)
        probabilities = log_probs.exp()
        with nullcontext() if entropy_gradient else torch.no_grad():
            entropy = -expectation(probabilities, log_probs)
        # One tensor: a backward pass that left out one of several would keep what that one needs, for every chunk.
        return torch.stack(
            [
                _at(log_probs, tokens),
                _at(ref_log_probs, tokens),
                entropy,
                expectation(probabilities, log_probs - ref_log_probs),
            ]
        )

    inputs = (policy.states[mask], reference.states[mask].detach(), rollout.completion_ids[mask])
    size = chunk_tokens or default_chunk(policy)
    chunks = list(zip(*(each.split(size) for each in inputs), strict=True))
    found = [checkpoint(of_chunk, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks[:-1]]
    found.append(of_chunk(*chunks[-1]))  # its backward pass comes first: nothing is gained by forming it twice
    values = torch.cat(found, dim=1)
    whole = values.new_zeros(len(values), *mask.shape).masked_scatter(mask, values)
    return TokenValues(whole[0], whole[1].detach(), whole[2], whole[3])


def sampled_logprobs(
    predictions: Predictions, rollout: Rollout, *, chunk_tokens: int | None = None
) -> Float[Tensor, "N C"]:
    """Compute log π(y_t | y_<t) of the sampled tokens alone, without gradients.

    Args:
        predictions: π.
        rollout: The sampled sequences.
        chunk_tokens: As in :func:`token_values`.

    Example:
        >>> from maxent_ray.policy import load_policy, sample_groups, score
        >>> policy = load_policy("embedded", device=torch.device("cpu"))
        >>> rollout = sample_groups(
        ...     policy, ["2,3,4=9:"], group_size=2, max_new_tokens=8, temperature=1.0, seed=0
        ... )
        >>> plain = score(policy.model, rollout).logprobs
        >>> torch.allclose(sampled_logprobs(predict(policy.model, rollout), rollout), plain, atol=1e-5)
        True
    """
    mask, size = rollout.completion_mask, chunk_tokens or default_chunk(predictions)
    with torch.no_grad():
        pairs = zip(predictions.states[mask].split(size), rollout.completion_ids[mask].split(size), strict=True)
        found = torch.cat([_at(predictions.logprobs_at(states), tokens) for states, tokens in pairs])
        return found.new_zeros(mask.shape).masked_scatter(mask, found)


def default_chunk(predictions: Predictions) -> int:
    """Tokens that have :data:`CHUNK_LOGITS` logits, one at least."""
    with torch.no_grad():
        vocabulary = predictions.head(predictions.states[:1, 0]).shape[-1]
    return max(1, CHUNK_LOGITS // vocabulary)


def _at(log_probs: Float[Tensor, "n V"], tokens: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
    return log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
