"""Step 1 of the flow: prompts → groups of completions → rewards, scored by the frozen reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maxent_ray.config import GRPOConfig
from maxent_ray.core.weightings import MaxEntWeighting, UnlikelinessWeighting, Weighting
from maxent_ray.core.weightings.coefficients import log_q_of
from maxent_ray.errors import TaskError
from maxent_ray.evaluation.held_out import HeldOutMetrics, grade_groups, metrics_of_grades
from maxent_ray.policy import Policy, Predictions, Rollout, adapters_off, sample_groups, sampled_logprobs, sequence_mean
from maxent_ray.tasks import Prompt, Task, tells_modes
from maxent_ray.train.micro_batches import predict_in_parts

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, eq=False)
class PreparedBatch:
    """One rank's groups of one step, with the values that do not depend on θ, τ or β."""

    rollout: Rollout
    rewards: Float[Tensor, "B G"]
    log_q: Float[Tensor, "B G"] | None
    """Logarithm of the smoothed reward distribution q, which weights follow; None of a weighting without weights."""
    ref: Predictions
    """Next-token distributions of the frozen reference."""
    ref_logprobs: Float[Tensor, "B G"]
    """ρ: reference log-probability of each completion, length-normalised by default (nats)."""
    graded: HeldOutMetrics
    """mean@G, pass@G, distinct@G and coverage@G of these training groups."""
    modes: tuple[tuple[str | None, ...], ...] | None
    """For each group, the modes of its completions, None for a wrong one; None: the task does not tell them."""

    def take(self, groups: slice) -> PreparedBatch:
        """The same batch restricted to some groups, for the unroll."""
        rows = self.rollout.rows(groups)
        return PreparedBatch(
            rollout=self.rollout.take(groups),
            rewards=self.rewards[groups],
            log_q=None if self.log_q is None else self.log_q[groups],
            ref=self.ref.take(rows),
            ref_logprobs=self.ref_logprobs[groups],
            graded=self.graded,
            modes=None if self.modes is None else self.modes[groups],
        )


def prepare_batch(
    policy: Policy,
    reference: PreTrainedModel,
    task: Task,
    prompts: Sequence[Prompt],
    grpo: GRPOConfig,
    weighting: Weighting = MaxEntWeighting(),
    *,
    seed: int,
) -> PreparedBatch:
    """Sample, grade and score one batch.

    Args:
        policy: θ, which completions are sampled from.
        reference: The frozen policy that KL is measured against; one with adapters is read without them.
        task: Grades completions.
        prompts: B prompts of this rank.
        grpo: Group size, length and temperature.
        weighting: From rewards to coefficients.
        seed: Seeds the sampling; a function of run, rank and step.

    Raises:
        TaskError: a reward is below 0, and the weighting takes none.
    """
    rollout = sample_groups(
        policy,
        [prompt.text for prompt in prompts],
        group_size=grpo.group_size,
        max_new_tokens=grpo.max_new_tokens,
        temperature=grpo.temperature,
        seed=seed,
    )
    grades = grade_groups(task, prompts, grouped(rollout))
    shape = (len(prompts), grpo.group_size)
    rewards = torch.tensor([[grade.reward for grade in group] for group in grades], device=policy.device)
    if isinstance(weighting, UnlikelinessWeighting) and (rewards < 0).any():
        raise TaskError(
            f"a reward is {rewards.min():g}; weighting.type unlikeliness discounts rewards, which must be >= 0: add a "
            "constant to them, or choose another weighting"
        )
    with torch.no_grad(), adapters_off(reference):
        ref = predict_in_parts(reference, rollout, grpo.micro_batch_tokens, grpo.temperature)
        logprobs = sampled_logprobs(ref, rollout, chunk_tokens=grpo.chunk_tokens)
        in_all = isinstance(weighting, MaxEntWeighting) and not weighting.length_normalize_ref
        rho = logprobs.sum(-1) if in_all else sequence_mean(logprobs, rollout.completion_mask)
    return PreparedBatch(
        rollout=rollout,
        rewards=rewards,
        log_q=log_q_of(weighting, rewards, token_shares(rollout, grpo.max_new_tokens).view(shape)),
        ref=ref,
        ref_logprobs=rho.view(shape),
        graded=metrics_of_grades(prompts, grades),
        modes=tuple(tuple(grade.mode for grade in group) for group in grades) if tells_modes(task) else None,
    )


def token_shares(rollout: Rollout, max_new_tokens: int) -> Float[Tensor, "N"]:
    """Tokens of each completion as a share of the most that are allowed."""
    return rollout.completion_mask.sum(dim=-1).float() / max_new_tokens


def grouped(rollout: Rollout) -> list[list[str]]:
    """The completions of a rollout, one list a group."""
    size = rollout.group_size
    return [rollout.completions[i : i + size] for i in range(0, len(rollout.completions), size)]


def stream_seed(*stream: int) -> int:
    """Seed of one random stream in a run, such as (seed, rank, step); neighbouring ones are unrelated.

    Example:
        >>> stream_seed(0, 1, 2) == stream_seed(0, 1, 2), stream_seed(0, 1, 2) == stream_seed(0, 1, 3)
        (True, False)
    """
    return int(np.random.SeedSequence(stream).generate_state(1, np.uint64)[0] >> 1)
