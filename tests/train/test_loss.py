"""The policy loss of a batch against REINFORCE written out sequence by sequence, without batching or padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from maxent_ray.config import GRPOConfig
from maxent_ray.core.weighting import group_weights
from maxent_ray.core.weightings import GRPOWeighting
from maxent_ray.policy import Policy
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.loss import policy_loss

TAU, BETA = 0.3, 0.4
GRPO = GRPOConfig(group_size=4)


def gradient(loss: Tensor, policy: Policy) -> Tensor:
    parts = torch.autograd.grad(loss, list(policy.model.parameters()))
    return torch.cat([part.flatten() for part in parts])


def sequence_logprobs(policy: Policy, batch: PreparedBatch, row: int, temperature: float = 1.0) -> Tensor:
    """log π over the vocabulary at each completion token of one sequence, run alone: [tokens, V]."""
    rollout = batch.rollout
    ids = rollout.input_ids[row][rollout.attention_mask[row].bool()]
    length = int(rollout.completion_mask[row].sum())
    logits = policy.model(input_ids=ids[None]).logits[0] / temperature
    return logits[-length - 1 : -1].log_softmax(-1)


def sampled(policy: Policy, batch: PreparedBatch, row: int, temperature: float = 1.0) -> Tensor:
    """Mean-token log π of one completion."""
    tokens = batch.rollout.completion_ids[row][batch.rollout.completion_mask[row]]
    log_probs = sequence_logprobs(policy, batch, row, temperature)
    return log_probs.gather(-1, tokens[:, None]).mean()


def reinforce(policy: Policy, batch: PreparedBatch, coefficients: Tensor) -> Tensor:
    """−mean over groups of Σᵢ cᵢ ∇ log π̄(yᵢ), one sequence at a time."""
    total = torch.zeros(())
    for row, coefficient in enumerate(coefficients.flatten().tolist()):
        total = total - coefficient * gradient(sampled(policy, batch, row), policy)
    return total / len(coefficients)


def kl_gradient(policy: Policy, batch: PreparedBatch) -> Tensor:
    """Gradient of the mean token KL by the score function: Σ_v π_v (log π_v − log ref_v) ∇ log π_v."""
    total = torch.zeros(())
    for row, mask in enumerate(batch.rollout.completion_mask):
        log_probs = sequence_logprobs(policy, batch, row)
        ref = batch.ref.full_logprobs[row][mask]
        score = (log_probs.exp() * (log_probs - ref)).detach()
        total = total + gradient((score * log_probs).sum(), policy)
    return total / batch.rollout.completion_mask.sum()


def test_maxent_gradient_is_weighted_reinforce_plus_the_kl_gradient(policy: Policy, batch: PreparedBatch) -> None:
    weights = group_weights(batch.log_q, batch.ref_logprobs, TAU, BETA)
    expected = reinforce(policy, batch, weights - 1 / 4) + BETA * kl_gradient(policy, batch)
    terms = policy_loss(policy.model, batch, TAU, BETA, grpo=GRPO)
    torch.testing.assert_close(gradient(terms.loss, policy), expected, rtol=1e-9, atol=1e-12)
    assert float(expected.norm()) > 1e-3


def test_grpo_gradient_is_reinforce_with_standardised_advantages(policy: Policy, batch: PreparedBatch) -> None:
    rewards = batch.rewards
    advantages = (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + 1e-4)
    expected = reinforce(policy, batch, advantages / 4)
    for tau in (TAU, 5.0):  # τ plays no part
        terms = policy_loss(policy.model, batch, tau, 0.0, grpo=GRPO, weighting=GRPOWeighting())
        torch.testing.assert_close(gradient(terms.loss, policy), expected, rtol=1e-9, atol=1e-12)


def test_the_k3_penalty_has_the_gradient_of_the_estimator(policy: Policy, batch: PreparedBatch) -> None:
    """∇(e^d − d − 1) with d = log ref − log π is (1 − e^d) ∇ log π at the sampled token."""
    total = torch.zeros(())
    for row, mask in enumerate(batch.rollout.completion_mask):
        tokens = batch.rollout.completion_ids[row][mask]
        log_probs = sequence_logprobs(policy, batch, row).gather(-1, tokens[:, None]).squeeze(-1)
        ref_log_probs = batch.ref.full_logprobs[row][mask].gather(-1, tokens[:, None]).squeeze(-1)
        factor = 1 - (ref_log_probs - log_probs).exp().detach()
        total = total + gradient((factor * log_probs).sum(), policy)
    penalty = BETA * total / batch.rollout.completion_mask.sum()
    weights = group_weights(batch.log_q, batch.ref_logprobs, TAU, BETA)
    k3 = GRPO.model_copy(update={"kl_estimator": "k3"})
    terms = policy_loss(policy.model, batch, TAU, BETA, grpo=k3)
    expected = reinforce(policy, batch, weights - 1 / 4) + penalty
    torch.testing.assert_close(gradient(terms.loss, policy), expected, rtol=1e-9, atol=1e-12)
    full = policy_loss(policy.model, batch, TAU, BETA, grpo=GRPO)
    assert terms.loss.item() != full.loss.item()
    assert torch.equal(terms.token_kl, full.token_kl)  # what is reported is the full KL, whatever is trained with


def test_kl_and_entropy_are_those_of_each_sequence_alone(policy: Policy, batch: PreparedBatch) -> None:
    terms = policy_loss(policy.model, batch, TAU, BETA, grpo=GRPO)
    for row, mask in enumerate(batch.rollout.completion_mask):
        log_probs = sequence_logprobs(policy, batch, row)
        kl = (log_probs.exp() * (log_probs - batch.ref.full_logprobs[row][mask])).sum(-1)
        torch.testing.assert_close(terms.token_kl[row][mask], kl, rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(terms.token_entropy[row][mask], -(log_probs.exp() * log_probs).sum(-1))
        assert not terms.token_kl[row][~mask].any()
        assert not terms.token_entropy[row][~mask].any()
    tokens = batch.rollout.completion_mask.sum()
    assert terms.mean_kl(tokens).item() == pytest.approx(terms.token_kl.sum().item() / int(tokens))
    assert terms.mean_kl(tokens).item() > 0


def test_the_policy_is_scored_at_its_sampling_temperature(policy: Policy, batch: PreparedBatch) -> None:
    warm = GRPO.model_copy(update={"temperature": 1.7})
    weights = group_weights(batch.log_q, batch.ref_logprobs, TAU, BETA)
    logprobs = torch.stack([sampled(policy, batch, row, 1.7) for row in range(16)]).view(4, 4)
    terms = policy_loss(policy.model, batch, TAU, BETA, grpo=warm)
    kl = terms.mean_kl(batch.rollout.completion_mask.sum())
    expected = -((weights - 1 / 4) * logprobs).sum(-1).mean() + BETA * kl
    torch.testing.assert_close(terms.loss, expected, rtol=1e-9, atol=1e-12)


def test_params_stand_in_for_the_models_own(policy: Policy, batch: PreparedBatch) -> None:
    generator = torch.Generator().manual_seed(5)
    others = {
        name: value.detach() * (1 + 0.05 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
        for name, value in policy.model.named_parameters()
    }
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    terms = policy_loss(policy.model, batch, TAU, BETA, grpo=GRPO, params=others)
    rollout = batch.rollout
    row = 5
    ids = rollout.input_ids[row][rollout.attention_mask[row].bool()]
    logits = functional_call(policy.model, others, (), {"input_ids": ids[None]}).logits[0]
    length = int(rollout.completion_mask[row].sum())
    log_probs = logits[-length - 1 : -1].log_softmax(-1)
    entropy = -(log_probs.exp() * log_probs).sum(-1)
    torch.testing.assert_close(terms.token_entropy[row][rollout.completion_mask[row]], entropy)
    assert all(torch.equal(value, before[name]) for name, value in policy.model.state_dict().items())
