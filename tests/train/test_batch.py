"""One batch: what was sampled, graded and scored, and its groups cut out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from maxent_ray.config import GRPOConfig
from maxent_ray.core.weightings import GRPOWeighting, ListwiseWeighting, MaxEntWeighting, Weighting
from maxent_ray.policy import Policy, frozen_copy, sampled_logprobs, score
from maxent_ray.tasks import CountdownSmall
from maxent_ray.train.batch import PreparedBatch, grouped, prepare_batch, stream_seed

GROUPS, SIZE = 4, 4
GRPO = GRPOConfig(group_size=SIZE, prompts_per_step=GROUPS, max_new_tokens=8)


def prepare(
    policy: Policy, *, seed: int = 3, weighting: Weighting = MaxEntWeighting(), **settings: object
) -> PreparedBatch:
    task = CountdownSmall(held_out_count=8)
    grpo = GRPO.model_copy(update=settings)
    return prepare_batch(policy, frozen_copy(policy), task, task.train[:GROUPS], grpo, weighting, seed=seed)


def test_rewards_are_the_graders(policy: Policy) -> None:
    made = prepare(policy)
    task = CountdownSmall(held_out_count=8)
    texts = grouped(made.rollout)
    assert [len(group) for group in texts] == [SIZE] * GROUPS
    expected = [
        [task.grade(prompt, text).reward for text in group]
        for prompt, group in zip(task.train[:GROUPS], texts, strict=True)
    ]
    assert made.rewards.tolist() == expected
    assert made.graded.mean == pytest.approx(made.rewards.mean().item())
    assert 0 < made.graded.mean < 1  # otherwise the comparison above says little


def test_log_q_is_the_smoothed_reward_distribution(policy: Policy) -> None:
    made = prepare(policy, weighting=MaxEntWeighting(q_temperature=0.5, q_epsilon=0.1))
    q = 0.9 * torch.softmax(made.rewards.double() / 0.5, dim=-1) + 0.1 / SIZE
    torch.testing.assert_close(made.log_q.double(), q.log(), rtol=0, atol=1e-6)


def test_the_reference_scores_what_was_sampled(policy: Policy) -> None:
    made = prepare(policy)
    again = score(policy.model, made.rollout)
    torch.testing.assert_close(sampled_logprobs(made.ref, made.rollout), again.logprobs)
    torch.testing.assert_close(made.ref.full_logprobs, again.full_logprobs)
    assert not made.ref.states.requires_grad


def test_the_reference_is_scored_at_the_sampling_temperature(policy: Policy) -> None:
    made = prepare(policy, temperature=1.7)
    expected = score(policy.model, made.rollout, temperature=1.7).logprobs
    torch.testing.assert_close(sampled_logprobs(made.ref, made.rollout), expected)


def test_rho_is_the_mean_or_the_sum_over_a_completions_tokens(policy: Policy) -> None:
    mean, total = prepare(policy), prepare(policy, weighting=MaxEntWeighting(length_normalize_ref=False))
    lengths = mean.rollout.completion_mask.sum(-1).view(GROUPS, SIZE)
    assert len(lengths.unique()) > 1
    expected = score(policy.model, mean.rollout).logprobs.sum(-1).view(GROUPS, SIZE)
    torch.testing.assert_close(total.ref_logprobs, expected)
    torch.testing.assert_close(mean.ref_logprobs, expected / lengths)


def test_a_batch_is_a_function_of_its_seed(policy: Policy) -> None:
    one, same, other = prepare(policy, seed=3), prepare(policy, seed=3), prepare(policy, seed=4)
    assert one.rollout.completions == same.rollout.completions
    assert one.rollout.completions != other.rollout.completions


@pytest.mark.parametrize("groups", [slice(0, 2), slice(1, 4), slice(3, 4), slice(0, 9)])
def test_some_groups_of_a_batch_are_those_rows_of_everything(batch: PreparedBatch, groups: slice) -> None:
    part = batch.take(groups)
    rows = [group * SIZE + i for group in range(GROUPS)[groups] for i in range(SIZE)]
    assert part.rollout.completions == [batch.rollout.completions[row] for row in rows]
    assert torch.equal(part.rewards, batch.rewards[groups])
    assert torch.equal(part.log_q, batch.log_q[groups])
    assert torch.equal(part.ref_logprobs, batch.ref_logprobs[groups])
    assert torch.equal(part.ref.states, batch.ref.states[rows])
    assert torch.equal(part.ref.full_logprobs, batch.ref.full_logprobs[rows])
    assert torch.equal(part.rollout.completion_mask, batch.rollout.completion_mask[rows])


def test_without_smoothing_extreme_rewards_still_give_finite_weights(policy: Policy) -> None:
    """softmax(1/T_q) underflows in float32 at T_q = .005; log q must not become −∞."""
    made = prepare(policy, weighting=MaxEntWeighting(q_temperature=0.005, q_epsilon=0.0))
    assert bool((made.rewards == 0).any())
    assert bool((made.rewards == 1).any())
    assert bool(made.log_q.isfinite().all())
    mixed = made.rewards.min(-1).values < made.rewards.max(-1).values
    expected = made.rewards[mixed] / 0.005
    expected = expected - expected.logsumexp(-1, keepdim=True)
    torch.testing.assert_close(made.log_q[mixed], expected, rtol=1e-5, atol=1e-4)


def test_listwise_utilities_count_tokens_against_the_longest_answer_allowed(policy: Policy) -> None:
    made = prepare(policy, weighting=ListwiseWeighting())
    lengths = made.rollout.completion_mask.sum(-1).view(GROUPS, SIZE)
    expected = (made.rewards - made.rewards.mean(-1, keepdim=True)) * lengths / GRPO.max_new_tokens
    torch.testing.assert_close(made.log_q, expected)


def test_a_weighting_without_weights_has_no_q(policy: Policy) -> None:
    made = prepare(policy, weighting=GRPOWeighting())
    assert made.log_q is None
    assert made.take(slice(0, 2)).log_q is None


# --- seeds of the streams ---


def test_a_stream_seed_is_stable_across_processes() -> None:
    """Fixed numbers: a resumed run in a new process must sample as the old one would have."""
    assert stream_seed(0, 7, 0, 3) == stream_seed(0, 7, 0, 3)
    assert [stream_seed(0), stream_seed(0, 1, 2, 3)] == [7896617691693857887, 6463705122041852897]


def test_places_have_seeds_of_their_own_that_a_generator_takes() -> None:
    places = [
        (stream, seed, rank, step) for stream in (0, 1) for seed in range(3) for rank in range(4) for step in range(50)
    ]
    seeds = {stream_seed(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)
    draws = [torch.rand((), generator=torch.Generator().manual_seed(stream_seed(0, 0, 0, n))) for n in range(400)]
    assert torch.stack(draws).mean().item() == pytest.approx(0.5, abs=4 / math.sqrt(12 * 400))


def test_a_batch_is_not_compared_by_value(batch: PreparedBatch) -> None:
    assert batch != replace(batch)  # tensors have no single truth value
