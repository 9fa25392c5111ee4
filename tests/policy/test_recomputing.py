"""Gradient checkpointing: the same gradient from less memory, without dropout, and only inside its context."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from maxent_ray.errors import ConfigError
from maxent_ray.policy import Policy, Rollout, load_policy, sample_groups, score
from maxent_ray.policy.recomputing import recomputing
from maxent_ray.train.memory import activation_bytes

CPU = torch.device("cpu")


def gradient(policy: Policy, rollout: Rollout) -> Tensor:
    loss = score(policy.model, rollout).logprobs.sum()
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(policy.model.parameters()))])


def kept(policy: Policy, rollout: Rollout) -> int:
    """Bytes that autograd keeps for the backward pass."""
    return activation_bytes(lambda: score(policy.model, rollout).logprobs.sum(), policy.model.parameters())


def test_the_gradient_is_the_same_from_less_memory(gpt2_folder: Path) -> None:
    """GPT-2 has dropout, which would change it if it acted."""
    policy = load_policy(str(gpt2_folder), device=CPU)
    assert policy.model.config.resid_pdrop > 0
    rollout = sample_groups(policy, ["2,3,4=9:"] * 4, group_size=4, max_new_tokens=20, temperature=1.0, seed=0)
    expected, whole = gradient(policy, rollout), kept(policy, rollout)
    with recomputing(policy.model):
        torch.testing.assert_close(gradient(policy, rollout), expected)
        assert kept(policy, rollout) < 0.5 * whole
    assert kept(policy, rollout) == whole


def test_layers_are_as_before_afterwards_and_sampling_keeps_its_cache(policy: Policy) -> None:
    before = sample_groups(policy, ["2,3,4=9:"], group_size=4, max_new_tokens=8, temperature=1.0, seed=0)
    with pytest.raises(ZeroDivisionError), recomputing(policy.model):
        _ = 1 / 0
    layers = [each for each in policy.model.modules() if isinstance(each, GradientCheckpointingLayer)]
    assert layers
    assert not any(layer.training or layer.gradient_checkpointing for layer in layers)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in policy.model.modules())
    again = sample_groups(policy, ["2,3,4=9:"], group_size=4, max_new_tokens=8, temperature=1.0, seed=0)
    assert again.completions == before.completions


def test_a_model_without_such_layers_is_refused(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy.model, "supports_gradient_checkpointing", False)
    reason = "LlamaForCausalLM has no layers that can be computed again: leave it out"
    with pytest.raises(ConfigError, match=reason), recomputing(policy.model):
        pass
