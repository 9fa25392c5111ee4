"""Token values in chunks against the plain formulas over all tokens at once: values, first and second derivatives."""

from __future__ import annotations

import gc
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from maxent_ray.policy import (
    Policy,
    Rollout,
    TokenValues,
    frozen_copy,
    load_policy,
    predict,
    sample_groups,
    sampled_logprobs,
    score,
    token_entropy,
    token_kl,
    token_values,
)
from maxent_ray.policy.output_head import output_head, shares_prompts
from maxent_ray.policy.recomputing import recomputing
from maxent_ray.train.memory import activation_bytes
from tests.policy.conftest import PROMPTS
from tests.policy.families import write_model
from tests.train.conftest import load_exact

CPU = torch.device("cpu")
CHUNKS = [1, 3, 7, 10_000, None]


@pytest.fixture(scope="module")
def policy() -> Policy:
    """In float64 throughout: prompts that are read once add up their gradients in another order."""
    return load_exact()


@pytest.fixture(scope="module")
def other(policy: Policy) -> Policy:
    """A policy some way from the reference."""
    model = frozen_copy(policy)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=0.02)
    model.requires_grad_(True)
    return Policy(model, policy.tokenizer, "moved")


@pytest.fixture(scope="module")
def rollout(policy: Policy) -> Rollout:
    made = sample_groups(policy, PROMPTS, group_size=4, max_new_tokens=12, temperature=1.0, seed=0)
    assert not made.completion_mask.all()
    return made


def plain(model: torch.nn.Module, reference: torch.nn.Module, rollout: Rollout, temperature: float) -> TokenValues:
    scores, ref = (score(each, rollout, temperature=temperature) for each in (model, reference))  # type: ignore[arg-type]
    mask = rollout.completion_mask
    entropy = token_entropy(scores.full_logprobs, mask)
    kl = token_kl(scores.full_logprobs, ref.full_logprobs, mask)
    return TokenValues(scores.logprobs, ref.logprobs, entropy, kl)


def chunked(
    model: torch.nn.Module, reference: torch.nn.Module, rollout: Rollout, temperature: float, chunk: int | None
) -> TokenValues:
    both = [predict(each, rollout, temperature=temperature) for each in (model, reference)]
    return token_values(both[0], both[1], rollout, chunk_tokens=chunk)


def mixed(values: TokenValues) -> Tensor:
    """A function of all values whose derivatives of every order differ from token to token."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(3, *values.kl.shape, generator=generator, dtype=torch.float64)
    return (weights * torch.stack([values.logprobs, values.entropy, values.kl]).square()).sum()


@pytest.mark.parametrize("chunk", CHUNKS)
def test_values_and_gradients_are_those_of_all_tokens_at_once(
    policy: Policy, other: Policy, rollout: Rollout, chunk: int | None
) -> None:
    expected = plain(other.model, policy.model, rollout, 1.3)
    found = chunked(other.model, policy.model, rollout, 1.3, chunk)
    for each, true in zip(found, expected, strict=True):
        torch.testing.assert_close(each, true, rtol=1e-12, atol=1e-12)
        assert not each[~rollout.completion_mask].any()
    assert not found.ref_logprobs.requires_grad
    parameters = list(other.model.parameters())
    slopes = [torch.autograd.grad(mixed(values), parameters) for values in (found, expected)]
    for each, true in zip(*slopes, strict=True):
        torch.testing.assert_close(each, true, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("chunk", [5, None])
def test_second_derivatives_are_those_of_all_tokens_at_once(
    policy: Policy, other: Policy, rollout: Rollout, chunk: int | None
) -> None:
    """Through ``params``, as an unroll takes them."""
    start = {name: value.detach().requires_grad_() for name, value in other.model.named_parameters()}
    reference = predict(policy.model, rollout)

    def bent(values: TokenValues) -> list[Tensor]:
        first = torch.autograd.grad(mixed(values), list(start.values()), create_graph=True)
        square = torch.stack([each.square().sum() for each in first]).sum()
        return list(torch.autograd.grad(square, list(start.values())))

    with sdpa_kernel(SDPBackend.MATH):
        found = token_values(predict(other.model, rollout, params=start), reference, rollout, chunk_tokens=chunk)
        scores = score(other.model, rollout, params=start)
        mask = rollout.completion_mask
        kl = token_kl(scores.full_logprobs, reference.full_logprobs, mask)
        true = TokenValues(scores.logprobs, found.ref_logprobs, token_entropy(scores.full_logprobs, mask), kl)
        for each, expected in zip(bent(found), bent(true), strict=True):
            torch.testing.assert_close(each, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("chunk", [2, None])
def test_sampled_logprobs_are_those_of_a_score(policy: Policy, rollout: Rollout, chunk: int | None) -> None:
    found = sampled_logprobs(predict(policy.model, rollout, temperature=0.7), rollout, chunk_tokens=chunk)
    torch.testing.assert_close(found, score(policy.model, rollout, temperature=0.7).logprobs.detach())
    assert not found.requires_grad


def test_states_at_padding_are_never_read(policy: Policy, rollout: Rollout) -> None:
    clean = predict(policy.model, rollout)
    states = clean.states.detach().clone()
    states[~rollout.completion_mask] = math.nan
    spoilt = replace(clean, states=states.requires_grad_())
    values = token_values(spoilt, clean, rollout, chunk_tokens=4)
    assert all(bool(each.isfinite().all()) for each in values)
    (slope,) = torch.autograd.grad(values.entropy.sum(), [states])
    assert bool(slope.isfinite().all())


def test_some_sequences_are_those_rows(policy: Policy, rollout: Rollout) -> None:
    rows = torch.tensor([7, 2, 9])
    part = rollout.select(rows)
    found = predict(policy.model, part)
    width = part.completion_mask.shape[1]
    assert part.group_size == 1
    assert part.completions == [rollout.completions[row] for row in rows.tolist()]
    assert part.prompt_length == int(rollout.attention_mask[rows, : rollout.prompt_length].sum(1).max())
    assert width == int(rollout.completion_mask[rows].sum(1).max())
    expected = predict(policy.model, rollout).take(rows, width)
    mask = part.completion_mask
    torch.testing.assert_close(found.full_logprobs[mask], expected.full_logprobs[mask], rtol=1e-9, atol=1e-9)


VOCABULARY, CHUNK = 4096, 8


def values_of_rows(policy: Policy, rows: int, *, entropy_gradient: bool) -> TokenValues:
    """Of random states under a head with a large vocabulary, in chunks."""
    width = 8
    head = torch.nn.Linear(width, VOCABULARY)
    tokens = torch.zeros(rows, 10, dtype=torch.long)
    made = Rollout(tokens, tokens + 1, tokens[:, 2:] == 0, [""] * rows, prompt_length=2, group_size=1)
    two_tokens = sample_groups(policy, ["2,3,4=9:"], group_size=1, max_new_tokens=2, temperature=1.0, seed=0)
    both = [
        replace(predict(policy.model, two_tokens), states=states, head=head)
        for states in (torch.randn(rows, 8, width, requires_grad=True), torch.randn(rows, 8, width))
    ]
    return token_values(*both, made, chunk_tokens=CHUNK, entropy_gradient=entropy_gradient)


@pytest.mark.parametrize("entropy_gradient", [True, False])
def test_memory_grows_with_the_chunk_and_not_with_the_tokens(policy: Policy, entropy_gradient: bool) -> None:
    """Bytes that autograd keeps for the backward pass."""

    def kept(rows: int) -> int:
        return activation_bytes(lambda: values_of_rows(policy, rows, entropy_gradient=entropy_gradient).kl.sum(), [])

    few, many = kept(4), kept(64)
    chunk = CHUNK * VOCABULARY * 4
    assert many - few < chunk
    assert few >= chunk


@pytest.mark.parametrize("entropy_gradient", [True, False])
def test_the_backward_pass_keeps_no_chunk_that_it_has_formed_again(policy: Policy, entropy_gradient: bool) -> None:
    """While the loss and all values are alive, those among them that the loss does not use."""
    values = values_of_rows(policy, 16, entropy_gradient=entropy_gradient)
    loss = values.logprobs.sum() + values.kl.sum()
    loss.backward()
    chunks = [each for each in gc.get_objects() if type(each) is Tensor and each.shape == (CHUNK, VOCABULARY)]
    assert not chunks
    assert values.entropy.requires_grad is True


def test_an_entropy_that_is_measured_alone_has_no_gradient(policy: Policy, rollout: Rollout) -> None:
    both = [(predict(policy.model, rollout), gradient) for gradient in (True, False)]
    whole, measured = (
        token_values(at, at, rollout, chunk_tokens=4, entropy_gradient=gradient) for at, gradient in both
    )
    torch.testing.assert_close(whole.entropy, measured.entropy, rtol=0, atol=0)
    parameters = list(policy.model.parameters())
    slopes = [torch.autograd.grad(each.entropy.sum(), parameters) for each in (whole, measured)]
    assert [any(bool(each.any()) for each in slope) for slope in slopes] == [True, False]


def test_a_family_that_changes_its_logits_afterwards_is_read_whole(tmp_path: Path) -> None:
    write_model("gemma2", tmp_path)
    model = load_policy(str(tmp_path), device=CPU).model
    model.config.final_logit_softcapping = 1.0
    assert output_head(model) is None


def test_prompts_are_read_once_for_their_group(policy: Policy, rollout: Rollout) -> None:
    read: list[torch.Size] = []
    handle = policy.model.register_forward_pre_hook(
        lambda model, args, kwargs: read.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    grouped = predict(policy.model, rollout)
    alone = predict(policy.model, replace(rollout, group_size=1))
    handle.remove()
    count, new = rollout.completion_mask.shape
    width = rollout.prompt_length
    assert read[-3:] == [(count // 4, width), (count, new - 1), (count, width + new - 1)]
    mask = rollout.completion_mask
    torch.testing.assert_close(grouped.states[mask], alone.states[mask], rtol=1e-10, atol=1e-10)


def test_completions_of_one_token_need_no_second_pass(policy: Policy) -> None:
    made = sample_groups(policy, PROMPTS, group_size=4, max_new_tokens=1, temperature=1.0, seed=0)
    expected = predict(policy.model, replace(made, group_size=1)).states
    torch.testing.assert_close(predict(policy.model, made).states, expected, rtol=1e-10, atol=1e-10)


def test_a_model_whose_layers_are_computed_again_reads_prompts_with_each_completion(
    policy: Policy, rollout: Rollout
) -> None:
    head = policy.model.get_output_embeddings()
    assert shares_prompts(policy.model, head)
    with recomputing(policy.model):
        assert not shares_prompts(policy.model, head)
    assert shares_prompts(policy.model, head)
