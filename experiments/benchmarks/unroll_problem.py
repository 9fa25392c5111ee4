"""Problem of the hypergradient benchmark: the training worker's unroll, on a batch after a few real steps.

64 sequences for the inner steps, 64 others to measure KL on, AdamW's frozen preconditioner: what the worker hands to
`unrolled_gradients`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from maxent_ray.config import GRPOConfig
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.hypergradient import CoefficientTensors
from maxent_ray.core.hypergradient.preconditioner import preconditioner
from maxent_ray.core.objectives import Unroll
from maxent_ray.policy import Policy, frozen_copy, load_policy
from maxent_ray.tasks import build_task, draw
from maxent_ray.train.batch import PreparedBatch, prepare_batch
from maxent_ray.train.loss import policy_loss
from maxent_ray.train.unroll.policy_unroll import PolicyUnroll

GRPO = GRPOConfig()
CONTROLLER, UNROLL = ControllerConfig(group_size=GRPO.group_size), Unroll()
"""Defaults: τ = .3, β = .1, groups of 8, 8 groups for the inner steps and 8 to measure on."""
REAL_STEPS = 5
"""AdamW steps before the unroll, so that its second moments are those of training."""


@dataclass(frozen=True, eq=False)
class UnrollProblem:
    """θ_0, its step sizes, and the batch that the worker's unroll splits into inner and outer groups."""

    model: PreTrainedModel
    batch: PreparedBatch
    rates: Mapping[str, Tensor]
    forward_dtype: torch.dtype = torch.float32
    """bfloat16: forward passes under autocast, with unchanged parameters."""

    @cached_property
    def unroll(self) -> PolicyUnroll:
        """The inner loss and [H, KL]: weight entropy (nats per group) and policy KL on the outer groups (per token)."""
        reduced = self.forward_dtype != torch.float32
        precision = partial(torch.autocast, self.device.type, dtype=torch.bfloat16, enabled=reduced)
        return PolicyUnroll.over(
            self.model, self.batch, grpo=GRPO, controller=CONTROLLER, groups=UNROLL.groups, precision=precision
        )

    @property
    def device(self) -> torch.device:
        """Device of model and batch."""
        return self.batch.rewards.device

    @property
    def coefficients(self) -> CoefficientTensors:
        """τ and β in float64, as in the worker."""
        values = (CONTROLLER.initial("tau"), CONTROLLER.initial("beta"))
        tau, beta = (torch.tensor(value, dtype=torch.float64, device=self.device) for value in values)
        return tau, beta

    def small(self) -> UnrollProblem:
        """One group for each part: enough to load every code path, too little to set a peak of memory."""
        return replace(self, batch=self.batch.take(slice(0, 2)))

    def cast(self, dtype: torch.dtype) -> UnrollProblem:
        """The same numbers, rounded to another type."""
        rates = {name: rate.to(dtype) for name, rate in self.rates.items()}
        return replace(
            self, model=copy.deepcopy(self.model).to(dtype), batch=_cast(self.batch, dtype), rates=rates
        )


class ExactNorm(LlamaRMSNorm):
    """The model's normalisation without its cast to float32, which is too coarse for central differences."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """x/√(mean x² + ε), in the type of x."""
        square = hidden_states.pow(2).mean(-1, keepdim=True)
        return self.weight * hidden_states * torch.rsqrt(square + self.variance_epsilon)


def exact_policy(device: torch.device) -> Policy:
    """The embedded policy in float64 throughout."""
    policy = load_policy("embedded:countdown_small", device=device, dtype=torch.float64)
    for module in policy.model.modules():
        if isinstance(module, LlamaRMSNorm):
            module.__class__ = ExactNorm
    return policy


def random_policy(layers: int, width: int, device: torch.device) -> Policy:
    """A random Llama of another size with the embedded policy's tokenizer, for cost measurements only."""
    embedded = load_policy("embedded:countdown_small", device=torch.device("cpu"))
    config = copy.deepcopy(embedded.model.config)
    heads = max(1, width // 64)
    config.update(
        {
            "num_hidden_layers": layers,
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "head_dim": width // heads,
        }
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    return Policy(model.eval().to(device), embedded.tokenizer, f"random, {layers} layers of width {width}")


def make_problem(policy: Policy, *, forward_dtype: torch.dtype = torch.float32) -> UnrollProblem:
    """Take a few real steps with AdamW, sample a batch from the resulting policy, and freeze the step sizes.

    Args:
        policy: Trained in place.
        forward_dtype: Of the unroll's forward passes.
    """
    reference = frozen_copy(policy)
    task = build_task("countdown_small", held_out_count=256, seed=0)
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=GRPO.learning_rate, weight_decay=GRPO.weight_decay)

    def sample(step: int, prompts: int) -> PreparedBatch:
        chosen = draw(task.train, prompts, seed=0, step=step)
        batch = prepare_batch(policy, reference, task, chosen, GRPO, seed=step)
        return _cast(batch, next(policy.model.parameters()).dtype)

    for step in range(REAL_STEPS):
        batch = sample(step, GRPO.prompts_per_step)
        terms = policy_loss(policy.model, batch, CONTROLLER.initial("tau"), CONTROLLER.beta, grpo=GRPO)
        optimizer.zero_grad()
        terms.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(policy.model.parameters(), GRPO.gradient_clip)
        optimizer.step()
    optimizer.zero_grad()
    scale = min(1.0, GRPO.gradient_clip / (float(norm) + 1e-6))
    return UnrollProblem(
        model=policy.model,
        batch=sample(REAL_STEPS, 2 * UNROLL.groups),
        rates=preconditioner(policy.model, optimizer, scale),
        forward_dtype=forward_dtype,
    )


def _cast(batch: PreparedBatch, dtype: torch.dtype) -> PreparedBatch:
    return replace(
        batch,
        rewards=batch.rewards.to(dtype),
        log_q=batch.log_q.to(dtype),
        ref=replace(batch.ref, states=batch.ref.states.to(dtype), head=copy.deepcopy(batch.ref.head).to(dtype)),
        ref_logprobs=batch.ref_logprobs.to(dtype),
    )
