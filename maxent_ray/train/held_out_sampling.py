"""Held-out evaluation of a policy: sample the evaluation's prompts in batches, and grade the completions."""

from __future__ import annotations

from maxent_ray.config import EvaluationSettings, GRPOConfig
from maxent_ray.evaluation.answers import HeldOutEvaluation, evaluate_completions
from maxent_ray.policy import Policy, sample_groups
from maxent_ray.tasks import Task
from maxent_ray.train.batch import grouped, stream_seed

_EVALUATION_STREAM = 1
"""Differs from the stream of training rollouts."""


def evaluate_held_out(
    policy: Policy, task: Task, settings: EvaluationSettings, grpo: GRPOConfig
) -> HeldOutEvaluation:
    """Sample and grade the held-out prompts; the same prompts and seeds for every policy.

    Args:
        policy: The policy, in its present state.
        task: Has the prompts, and grades completions.
        settings: Number of prompts, completions of each, and the seed.
        grpo: Batch size, length and temperature of the sampling.
    """
    prompts = list(task.held_out[: settings.prompts])
    completions: list[list[str]] = []
    for start in range(0, len(prompts), grpo.prompts_per_step):
        rollout = sample_groups(
            policy,
            [prompt.text for prompt in prompts[start : start + grpo.prompts_per_step]],
            group_size=settings.samples,
            max_new_tokens=grpo.max_new_tokens,
            temperature=grpo.temperature,
            seed=stream_seed(_EVALUATION_STREAM, settings.seed, start),
        )
        completions += grouped(rollout)
    return evaluate_completions(task, prompts, completions)
