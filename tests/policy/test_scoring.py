from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.nn.attention import SDPBackend, sdpa_kernel

from maxent_ray.policy import (
    Policy,
    Rollout,
    completion_logits,
    frozen_copy,
    full_logprobs,
    k3_kl,
    load_policy,
    sample_groups,
    score,
    sequence_mean,
    token_entropy,
    token_kl,
    token_logprobs,
)

CPU = torch.device("cpu")
MASK = torch.tensor([[True, True, True], [True, False, False]])


def random_log_probs(seed: int, width: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, width, generator=generator, dtype=torch.float64).mul(3).log_softmax(-1)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_left_padding_changes_no_score(family: str, policy: Policy, gpt2_folder: Path) -> None:
    """Oracle: each sequence alone, unpadded, through a plain forward pass."""
    if family == "gpt2":
        policy = load_policy(str(gpt2_folder), device=CPU)
    prompts = ["2,3,4=9:", "10,11,12=10:"]
    rollout = sample_groups(policy, prompts, group_size=3, max_new_tokens=12, temperature=1.0, seed=1)
    scored = token_logprobs(completion_logits(policy.model, rollout), rollout)
    for row in range(6):
        real = rollout.input_ids[row][rollout.attention_mask[row].bool()]
        count = int(rollout.completion_mask[row].sum())
        logits = policy.model(real[None]).logits[0, :-1]
        alone = logits.log_softmax(-1).gather(-1, real[1:, None])[-count:, 0]
        torch.testing.assert_close(scored[row, :count], alone, rtol=0, atol=1e-5)
        assert not scored[row, count:].any()


def test_score_is_logits_then_log_probabilities(policy: Policy, rollout: Rollout) -> None:
    scores = score(policy.model, rollout, temperature=0.5)
    logits = completion_logits(policy.model, rollout)
    torch.testing.assert_close(scores.full_logprobs, (2 * logits).log_softmax(-1))
    torch.testing.assert_close(scores.logprobs, token_logprobs(logits, rollout, 0.5))
    chosen = Categorical(logits=2 * logits).log_prob(rollout.completion_ids)
    torch.testing.assert_close(scores.logprobs, chosen * rollout.completion_mask)


def test_bfloat16_logits_are_normalised_in_float32() -> None:
    assert full_logprobs(torch.randn(1, 2, 5).bfloat16()).dtype == torch.float32


def test_gradients_through_params_equal_backward(policy: Policy, rollout: Rollout) -> None:
    """The embeddings are tied: their one name in `named_parameters` must gather both of their uses."""
    model = load_policy("embedded", device=CPU).model
    names = [name for name, _ in model.named_parameters()]
    assert model.config.tie_word_embeddings
    assert "lm_head.weight" not in names
    score(model, rollout).logprobs.sum().backward()
    params = {name: p.detach().clone().requires_grad_() for name, p in policy.model.named_parameters()}
    gradients = torch.autograd.grad(
        score(policy.model, rollout, params=params).logprobs.sum(), list(params.values())
    )
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-4)
    assert all(parameter.grad is None for parameter in policy.model.parameters())


def test_params_stand_in_for_the_model(policy: Policy, rollout: Rollout) -> None:
    params = {name: 0.5 * p.detach() for name, p in policy.model.named_parameters()}
    other = load_policy("embedded", device=CPU).model
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    torch.testing.assert_close(
        completion_logits(policy.model, rollout, params), completion_logits(other, rollout)
    )


def test_second_derivatives_match_central_differences(gpt2_folder: Path) -> None:
    """Directional second derivative of the mean log-probability, float64, padded rows included."""
    policy = load_policy(str(gpt2_folder), device=CPU, dtype=torch.float64)
    rollout = sample_groups(
        policy, ["2,3,4=9:", "10,11,12=10:"], group_size=2, max_new_tokens=5, temperature=1.0, seed=0
    )
    generator = torch.Generator().manual_seed(0)
    start = {name: p.detach() for name, p in policy.model.named_parameters()}
    direction = {
        name: torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.1 for name, p in start.items()
    }

    def value(distance: Tensor) -> Tensor:
        params = {name: start[name] + distance * direction[name] for name in start}
        return score(policy.model, rollout, params=params).logprobs.mean()

    with sdpa_kernel(SDPBackend.MATH):
        at = torch.zeros((), dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad(value(at), at, create_graph=True)
        (second,) = torch.autograd.grad(first, at)
        step = 1e-4
        low, mid, high = (value(torch.tensor(x, dtype=torch.float64)) for x in (-step, 0.0, step))
    assert math.isfinite(second.item())
    assert first.item() == pytest.approx(((high - low) / (2 * step)).item(), rel=1e-5)
    assert second.item() == pytest.approx(((high - 2 * mid + low) / step**2).item(), rel=1e-4)


def test_token_entropy_against_torch_distributions() -> None:
    log_probs = random_log_probs(0)
    expected = Categorical(logits=log_probs).entropy() * MASK
    torch.testing.assert_close(token_entropy(log_probs, MASK), expected, rtol=0, atol=1e-12)


def test_token_kl_against_torch_distributions() -> None:
    log_probs, reference = random_log_probs(0), random_log_probs(1)
    expected = kl_divergence(Categorical(logits=log_probs), Categorical(logits=reference)) * MASK
    torch.testing.assert_close(token_kl(log_probs, reference, MASK), expected, rtol=0, atol=1e-12)
    assert not token_kl(log_probs, log_probs, MASK).any()


RULED_OUT = [1, 4]
"""Tokens that a model gives −inf, as where its head masks rows of a padded vocabulary."""
KEPT = [0, 2, 3, 5, 6]


def masked_logits(seed: int) -> Tensor:
    """Logits with −inf at some tokens; `without` drops these."""
    logits = random_log_probs(seed)
    logits[..., RULED_OUT] = -math.inf
    return logits.requires_grad_()


def without(logits: Tensor) -> Tensor:
    return logits.detach()[..., KEPT].requires_grad_()


def test_a_token_that_is_ruled_out_counts_for_nothing() -> None:
    """Entropy and KL are those of the vocabulary without it, and those of torch.distributions."""
    log_probs, reference = full_logprobs(masked_logits(0)), full_logprobs(masked_logits(1))
    entropy, kl = token_entropy(log_probs, MASK), token_kl(log_probs, reference, MASK)
    policies = Categorical(logits=log_probs), Categorical(logits=reference)
    torch.testing.assert_close(entropy, policies[0].entropy() * MASK, rtol=0, atol=1e-12)
    torch.testing.assert_close(kl, kl_divergence(*policies) * MASK, rtol=0, atol=1e-12)
    torch.testing.assert_close(entropy, token_entropy(log_probs[..., KEPT], MASK), rtol=0, atol=1e-15)
    half = torch.tensor([[[0.0, -math.inf]]])
    assert token_entropy(half, MASK[:1, :1]).item() == 0
    assert token_kl(half, half, MASK[:1, :1]).item() == 0


def test_what_the_reference_alone_rules_out_is_infinitely_far_and_the_other_way_round_is_not() -> None:
    both, one = full_logprobs(random_log_probs(0)), full_logprobs(masked_logits(1))
    assert token_kl(both, one, MASK)[MASK].isposinf().all()
    expected = kl_divergence(Categorical(logits=one), Categorical(logits=both)) * MASK
    torch.testing.assert_close(token_kl(one, both, MASK), expected)


def test_gradients_are_those_of_the_vocabulary_without_what_is_ruled_out() -> None:
    """First and second derivatives of entropy and KL in the logits."""
    for measure in (
        lambda logits, ref: token_entropy(full_logprobs(logits), MASK).sum(),
        lambda logits, ref: token_kl(full_logprobs(logits), full_logprobs(ref), MASK).sum(),
        lambda logits, ref: k3_kl(full_logprobs(logits)[..., 0], full_logprobs(ref)[..., 0], MASK).sum(),
    ):
        found = []
        masked = masked_logits(0), masked_logits(1)
        for logits, ref in (masked, (without(masked[0]), without(masked[1]))):
            (first,) = torch.autograd.grad(measure(logits, ref), logits, create_graph=True)
            (second,) = torch.autograd.grad(first.square().sum(), logits)
            found.append(torch.stack([first.detach(), second]))
        torch.testing.assert_close(found[0][..., KEPT], found[1], rtol=1e-12, atol=1e-14)
        assert not found[0][..., RULED_OUT].any()


def test_the_k3_estimator_is_unbiased_and_not_negative() -> None:
    """Its expectation over π, summed exactly over the vocabulary, is KL(π ‖ π_ref)."""
    log_probs, reference = random_log_probs(0), random_log_probs(1)
    ones = torch.ones(2, 3, dtype=torch.bool)
    estimates = torch.stack([k3_kl(log_probs[..., v], reference[..., v], ones) for v in range(7)], dim=-1)
    assert bool((estimates >= 0).all())
    expectation = (log_probs.exp() * estimates).sum(dim=-1)
    torch.testing.assert_close(expectation, token_kl(log_probs, reference, ones), rtol=1e-12, atol=0)


def test_garbage_at_padding_does_not_spread() -> None:
    log_probs = random_log_probs(0)
    log_probs[1, 1:] = float("nan")
    entropy = token_entropy(log_probs, MASK)
    assert bool(entropy.isfinite().all())
    means = sequence_mean(torch.where(MASK, entropy, float("inf")), MASK)
    torch.testing.assert_close(means, torch.stack([entropy[0].mean(), entropy[1, 0]]))


def test_a_frozen_copy_scores_like_its_original(policy: Policy, rollout: Rollout) -> None:
    scores, reference = score(policy.model, rollout), score(frozen_copy(policy), rollout)
    assert scores.logprobs.requires_grad
    assert not reference.logprobs.requires_grad
    assert not token_kl(scores.full_logprobs, reference.full_logprobs, rollout.completion_mask).any()
