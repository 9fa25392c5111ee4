"""Held-out evaluation of a policy: sample the evaluation's prompts in batches, and grade the completions."""

from __future__ import annotations

from collections.abc import Sequence

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

    Each prompt has a seed of its own, so that its completions do not depend on the size of the batches.

    Args:
        policy: The policy, in its present state.
        task: Has the prompts, and grades completions.
        settings: Number of prompts, completions of each, and the seed.
        grpo: Batch size, length and temperature of the sampling.
    """
    prompts = list(task.held_out[: settings.prompts])
    completions: dict[int, list[str]] = {}
    for places in _batches([len(prompt.text) for prompt in prompts], grpo.prompts_per_step):
        rollout = sample_groups(
            policy,
            [prompts[place].text for place in places],
            group_size=settings.samples,
            max_new_tokens=grpo.max_new_tokens,
            temperature=grpo.temperature,
            seed=[stream_seed(_EVALUATION_STREAM, settings.seed, place) for place in places],
        )
        completions |= zip(places, grouped(rollout), strict=True)
    return evaluate_completions(task, prompts, [completions[place] for place in range(len(prompts))])


def _batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Places of the prompts of each batch: those of like lengths together, so that little padding is read."""
    places = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [places[start : start + size] for start in range(0, len(places), size)]
