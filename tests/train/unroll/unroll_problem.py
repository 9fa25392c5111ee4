"""One unroll for whole batches and for ranks: the embedded policy in float64 and a batch of eight groups."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.measurement import batch_statistics, measure_groups
from maxent_ray.core.objectives import Unroll
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.policy import frozen_copy
from maxent_ray.tasks import CountdownSmall
from maxent_ray.train.batch import PreparedBatch, prepare_batch
from maxent_ray.train.loss import policy_loss
from maxent_ray.train.unroll.hypergradients import WorkerHypergradients
from tests.train.conftest import load_exact
from tests.train.tiny import tiny_config

TAU, BETA = 0.3, 0.4
GRPO = tiny_config().grpo
CONTROLLER = ControllerConfig(group_size=GRPO.group_size)
STEPS = 2


def unroll(**settings: Any) -> Unroll:
    return Unroll(**{"steps": STEPS, "groups": 4, **settings})


class UnrollProblem(NamedTuple):
    """What a training step hands to its unroll."""

    model: nn.Module
    batch: PreparedBatch
    statistics: BatchStatistics
    rates: dict[str, Tensor]
    coefficients: Coefficients = Coefficients(TAU, BETA, 0, 7)

    def share(self, rank: int, world_size: int) -> UnrollProblem:
        """Every ``world_size``-th group: the first halves of all shares are the first half of the whole."""
        part = self.batch.take(slice(rank, None, world_size))
        return self._replace(batch=part, statistics=measured(self.model, part))

    def hypergradients(self, world_size: int = 1, **settings: Any) -> WorkerHypergradients:
        return WorkerHypergradients(
            self.model,
            grpo=GRPO,
            controller=CONTROLLER,
            unroll=unroll(**settings),
            world_size=world_size,
            precision=lambda: torch.autocast("cpu", enabled=False),
        )

    def compute(self, hypergradients: WorkerHypergradients) -> Any:
        return hypergradients.compute(self.batch, self.statistics, self.coefficients, self.rates, share=0.1)


def measured(model: nn.Module, batch: PreparedBatch) -> BatchStatistics:
    with torch.no_grad():
        terms = policy_loss(model, batch, TAU, BETA, grpo=GRPO)
    return batch_statistics(
        measure_groups(batch.rewards, batch.log_q, batch.ref_logprobs, TAU, BETA),
        terms.token_entropy,
        terms.token_kl,
        batch.rollout.completion_mask,
    )


def unroll_problem() -> UnrollProblem:
    """The same in every process."""
    policy = load_exact()
    reference = frozen_copy(policy)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise * 0.02 * parameter.std())
    config = tiny_config()
    task = CountdownSmall(held_out_count=8)
    made = prepare_batch(policy, reference, task, task.train[:8], config.grpo, seed=3)
    batch = replace(made, rewards=made.rewards.double(), log_q=made.log_q.double())
    rates = {name: torch.full_like(value, 0.02).detach() for name, value in policy.model.named_parameters()}
    return UnrollProblem(policy.model, batch, measured(policy.model, batch), rates)


class TooLarge:
    """A forward hook that asks for more memory than any machine has, in unrolls only.

    Args:
        model: Gets the hook.
        passes: How many forward passes of unrolls go well before.
    """

    def __init__(self, model: nn.Module, passes: int = 0) -> None:
        self.passes = passes
        self._handle = model.register_forward_pre_hook(self._before, with_kwargs=True)

    def _before(self, model: nn.Module, args: object, kwargs: dict[str, Any]) -> None:
        unrolled = not all(isinstance(value, nn.Parameter) for value in model.parameters())
        continues = "past_key_values" in kwargs  # the pass that read the prompts
        if unrolled and torch.is_grad_enabled() and not continues:
            self.passes -= 1
            if self.passes < 0:
                torch.empty(2**55, dtype=torch.uint8)

    def remove(self) -> None:
        self._handle.remove()


def copied(problem: UnrollProblem) -> UnrollProblem:
    """With a model of its own, to hang hooks on."""
    return problem._replace(model=copy.deepcopy(problem.model))
