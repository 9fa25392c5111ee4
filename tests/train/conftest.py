from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from maxent_ray.policy import Policy, frozen_copy, load_policy
from maxent_ray.tasks import CountdownSmall
from maxent_ray.train.batch import PreparedBatch, prepare_batch
from tests.train.tiny import tiny_config


class ExactNorm(LlamaRMSNorm):
    """The model's normalisation without its cast to float32, which no central difference survives."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        square = hidden_states.pow(2).mean(-1, keepdim=True)
        return self.weight * hidden_states * torch.rsqrt(square + self.variance_epsilon)


def load_exact() -> Policy:
    """The embedded policy, in float64 throughout."""
    policy = load_policy("embedded:countdown_small", device=torch.device("cpu"), dtype=torch.float64)
    for module in policy.model.modules():
        if isinstance(module, LlamaRMSNorm):
            module.__class__ = ExactNorm
    return policy


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The embedded policy in float64, a random step away from its reference."""
    policy = load_exact()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise * 0.02 * parameter.std())
    return policy


@pytest.fixture(scope="session")
def batch(policy: Policy) -> PreparedBatch:
    """4 groups of 4 with mixed rewards, scored by the policy's warm start in float64."""
    reference = frozen_copy(load_exact())
    config = tiny_config()
    task = CountdownSmall(held_out_count=8)
    made = prepare_batch(policy, reference, task, task.train[:4], config.grpo, seed=3)
    return replace(made, rewards=made.rewards.double(), log_q=made.log_q.double())
