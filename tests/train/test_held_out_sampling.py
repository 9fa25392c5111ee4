"""The held-out evaluation reads prompts of like lengths together, and its answers do not depend on that."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch

from maxent_ray.config import EvaluationSettings, GRPOConfig
from maxent_ray.policy import Policy, Rollout, load_policy, sample_groups
from maxent_ray.tasks import build_task
from maxent_ray.train.held_out_sampling import evaluate_held_out


def test_answers_are_in_order_and_do_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = load_policy("embedded:countdown", device=torch.device("cpu"))
    task = build_task("countdown", held_out_count=16)
    settings = EvaluationSettings(prompts=16, samples=2)
    asked: list[list[str]] = []

    def recorded(policy: Policy, prompts: list[str], **settings: Any) -> Rollout:
        asked.append(prompts)
        return sample_groups(policy, prompts, **settings)

    monkeypatch.setattr("maxent_ray.train.held_out_sampling.sample_groups", recorded)
    found = [evaluate_held_out(policy, task, settings, GRPOConfig(prompts_per_step=size)) for size in (16, 5, 1)]
    assert found[0] == found[1] == found[2]
    assert [sample.prompt for sample in found[0].samples] == [prompt.text for prompt in task.held_out[:8]]
    batches = [[len(text) for text in texts] for texts in asked[1:5]]
    assert [len(lengths) for lengths in batches] == [5, 5, 5, 1]
    assert list(chain.from_iterable(batches)) == sorted(len(prompt.text) for prompt in task.held_out[:16])
