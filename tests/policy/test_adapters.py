"""LoRA: what is trained, the reference without a copy, states, and what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from maxent_ray.config import LoRASettings
from maxent_ray.errors import ConfigError, ResumeError
from maxent_ray.policy import (
    Policy,
    adapters_off,
    add_adapters,
    frozen_copy,
    load_policy,
    load_trained_state,
    merged_copy,
    predict,
    sample_groups,
    save_policy,
    trained_state,
)

CPU = torch.device("cpu")
PROMPTS = ["2,3,4=9:", "10,11,12=10:"]


def adapted(*, moved: bool = False, dtype: torch.dtype = torch.float32, **settings: Any) -> Policy:
    """The embedded policy with adapters, which begin as 0."""
    policy = load_policy("embedded", device=CPU, dtype=dtype)
    add_adapters(policy.model, **LoRASettings(**{"rank": 4, **settings}).model_dump())
    if moved:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in policy.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return policy


def logits(policy: Policy) -> torch.Tensor:
    ids = torch.tensor([[3, 19, 4, 19, 5, 18, 11, 20, 4, 13]])
    with torch.no_grad():
        found: torch.Tensor = policy.model(ids).logits
    return found


def test_adapters_alone_are_trained_and_begin_as_nothing() -> None:
    plain, policy = load_policy("embedded", device=CPU), adapted()
    torch.testing.assert_close(logits(policy), logits(plain), rtol=0, atol=0)
    trained = {name for name, value in policy.model.named_parameters() if value.requires_grad}
    assert all("lora_" in name for name in trained)
    assert len(trained) == 2 * 7 * policy.model.config.num_hidden_layers
    assert not isinstance(policy.model.lm_head.weight, type(None))


def test_first_values_follow_the_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    first = trained_state(adapted().model)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    same, other = (trained_state(adapted(seed=seed).model) for seed in (0, 1))
    assert torch.equal(torch.rand(1), drawn)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_reference_is_the_model_with_adapters_off() -> None:
    plain, policy = load_policy("embedded", device=CPU), adapted(moved=True)
    reference = frozen_copy(policy)
    assert reference is policy.model
    with adapters_off(reference):
        torch.testing.assert_close(logits(policy), logits(plain), rtol=0, atol=0)
    assert float((logits(policy) - logits(plain)).abs().max()) > 0.1
    assert any(parameter.requires_grad for parameter in policy.model.parameters())
    with pytest.raises(ZeroDivisionError), adapters_off(reference):
        _ = 1 / 0
    assert float((logits(policy) - logits(plain)).abs().max()) > 0.1  # on again after an error


def test_a_saved_policy_is_a_plain_model_with_the_adapters_in_its_weights(tmp_path: Path) -> None:
    policy = adapted(moved=True)
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    save_policy(policy, tmp_path)
    loaded = load_policy(str(tmp_path), device=CPU)
    torch.testing.assert_close(logits(loaded), logits(policy), rtol=1e-4, atol=1e-4)
    assert set(loaded.model.state_dict()) == set(load_policy("embedded", device=CPU).model.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in policy.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in merged_copy(policy.model).parameters())


def test_a_state_has_the_adapters_alone_and_loads_again() -> None:
    policy, other = adapted(moved=True), adapted()
    state = trained_state(policy.model)
    assert all("lora_" in name for name in state)
    load_trained_state(other.model, state)
    torch.testing.assert_close(logits(other), logits(policy), rtol=0, atol=0)
    plain = load_policy("embedded", device=CPU).model
    assert set(trained_state(plain)) == set(plain.state_dict())


def test_a_state_of_other_adapters_is_refused_and_nothing_is_loaded() -> None:
    policy = adapted()
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    of_rank_8 = trained_state(adapted(rank=8, moved=True).model)
    for state, how in (
        (of_rank_8, r"lora_A.default.weight is in both, of other shape\)"),
        (trained_state(load_policy("embedded", device=CPU).model), r"is not in both\): resume with policy.model"),
    ):
        with pytest.raises(ResumeError, match=how):
            load_trained_state(policy.model, state)
    assert all(torch.equal(value, before[name]) for name, value in policy.model.state_dict().items())


def test_names_that_match_nothing_are_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError) as raised:
        adapted(target_modules=("query",))
    assert str(raised.value) == (
        "policy.lora.target_modules is ('query',), which no layer of the model matches; it has down_proj, gate_proj, "
        "k_proj, o_proj, q_proj, up_proj, v_proj, or set all-linear"
    )


def test_one_of_several_names_that_matches_nothing_is_refused_too() -> None:
    with pytest.raises(ConfigError, match=r"'v_prj'\), but no layer of the model matches 'v_prj'; it has down"):
        adapted(target_modules=("q_proj", "v_prj"))
    adapted(target_modules=("self_attn.q_proj", "v_proj"))


def test_the_output_head_is_left_out() -> None:
    with pytest.raises(ConfigError, match="takes in the output head; leave it out"):
        adapted(target_modules=("q_proj", "lm_head"))


def test_adapters_of_a_model_in_bfloat16_are_in_float32() -> None:
    model = adapted(dtype=torch.bfloat16).model
    types = {parameter.requires_grad: parameter.dtype for parameter in model.parameters()}
    assert types == {True: torch.float32, False: torch.bfloat16}


def test_derivatives_through_params_of_adapters_alone() -> None:
    """As the unroll takes them, twice, against central differences."""
    policy = adapted(moved=True, dtype=torch.float64)
    rollout = sample_groups(policy, PROMPTS, group_size=2, max_new_tokens=5, temperature=1.0, seed=0)
    start = {name: value.detach() for name, value in policy.model.named_parameters() if value.requires_grad}
    generator = torch.Generator().manual_seed(1)
    along = {name: torch.randn(value.shape, generator=generator, dtype=torch.float64) for name, value in start.items()}
    mask = rollout.completion_mask

    def value(distance: torch.Tensor) -> torch.Tensor:
        params = {name: start[name] + 0.01 * distance * along[name] for name in start}
        log_probs = predict(policy.model, rollout, params=params).full_logprobs[mask]
        return (log_probs.exp() * log_probs).sum()

    with sdpa_kernel(SDPBackend.MATH):
        at = torch.zeros((), dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad(value(at), at, create_graph=True)
        (second,) = torch.autograd.grad(first, at)
        step = 1e-2
        low, mid, high = (value(torch.tensor(x, dtype=torch.float64)) for x in (-step, 0.0, step))
    assert first.item() == pytest.approx(((high - low) / (2 * step)).item(), rel=1e-3)
    assert second.item() == pytest.approx(((high - 2 * mid + low) / step**2).item(), rel=2e-2)
