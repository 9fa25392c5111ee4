"""H over informative groups in an unroll: the statistics' own mean and derivatives, whole, in shards and on ranks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor

from maxent_ray.config import GRPOConfig
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.measurement import batch_statistics, measure_groups
from maxent_ray.core.objectives import Sensitivity
from maxent_ray.core.objectives.merging import RankWeights, merge_sensitivities
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.weighting import listwise_log_q
from maxent_ray.policy import Policy
from maxent_ray.train.batch import PreparedBatch
from maxent_ray.train.unroll.policy_unroll import PolicyUnroll
from maxent_ray.train.unroll.rank_sync import UnrollRanks
from maxent_ray.train.unroll.sensitivity import differentiate

TAU, BETA, TIED = 0.3, 0.4, [[0.0] * 4, [1.0] * 4]
GRPO = GRPOConfig(group_size=4)
TRACKING = ControllerConfig(group_size=4, entropy_signal="informative_weight_entropy", target_entropy=1.0)
FIELDS = {
    "entropy": "informative_weight_entropy",
    "entropy_tau": "informative_entropy_tau",
    "entropy_beta": "informative_entropy_beta",
}


class TwoRanks:
    """Collectives of this rank and another one, whose tensors are known."""

    def __init__(self, other: Sequence[Tensor]) -> None:
        self._other = list(other)

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [(own + other) / 2 for own, other in zip(tensors, self._other, strict=True)]


def rewarded(batch: PreparedBatch, rewards: Sequence[Sequence[float]]) -> PreparedBatch:
    given = torch.tensor(rewards, dtype=torch.float64)
    return replace(batch, rewards=given, log_q=listwise_log_q(given, temperature=1.0, epsilon=1e-6))


@pytest.fixture(scope="module")
def half_tied(batch: PreparedBatch) -> PreparedBatch:
    return rewarded(batch, [TIED[0], [0.0, 1.0, 0.0, 0.0], TIED[1], [1.0, 1.0, 0.0, 1.0]])


def statistics(batch: PreparedBatch) -> BatchStatistics:
    groups = measure_groups(batch.rewards, batch.log_q, batch.ref_logprobs, TAU, BETA)
    mask = batch.rollout.completion_mask
    return batch_statistics(groups, torch.zeros(mask.shape), torch.zeros(mask.shape), mask)


def unrolled(policy: Policy, batch: PreparedBatch) -> Sensitivity:
    unroll = PolicyUnroll.over(policy.model, batch, grpo=GRPO, controller=TRACKING, groups=2, precision=nullcontext)
    rates = {name: torch.full_like(each, 1e-4) for name, each in unroll.params.items()}
    return differentiate(
        unroll, statistics(batch), Coefficients(TAU, BETA, 0, 0), steps=1, rates=rates, share=1.0, mode="reverse",
        checkpoint=False,
    )  # fmt: skip


def test_it_is_what_the_statistics_say(policy: Policy, half_tied: PreparedBatch) -> None:
    """Weights do not depend on the policy, so their total derivatives are the closed forms."""
    found, measured = unrolled(policy, half_tied), statistics(half_tied)
    assert measured.informative_groups == 2
    for name, signal in FIELDS.items():
        assert getattr(found, name) == pytest.approx(measured.mean(signal), rel=1e-9)


def test_ranks_that_unroll_apart_merge_to_the_whole(policy: Policy, batch: PreparedBatch) -> None:
    """One rank has no informative group: it weighs nothing."""
    whole = rewarded(batch, [*TIED, [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]])
    shards = [whole.take(slice(0, 2)), whole.take(slice(2, 4))]
    weights = [RankWeights(statistics(shard).count(TRACKING.entropy_signal), 1) for shard in shards]
    assert [each.entropy for each in weights] == [0, 2]
    merged = merge_sensitivities([unrolled(policy, shard) for shard in shards], weights)
    for name, signal in FIELDS.items():
        assert getattr(merged, name) == pytest.approx(statistics(whole).mean(signal), rel=1e-9)


def test_ranks_that_unroll_together_average_to_the_whole(policy: Policy, batch: PreparedBatch) -> None:
    """The mean of their outer functions is that of the whole batch, though one has one such group and the other two."""
    whole = rewarded(batch, [TIED[0], [0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]])
    shards = [whole.take(slice(0, 2)), whole.take(slice(2, 4))]
    at = (torch.tensor(TAU, dtype=torch.float64), torch.tensor(BETA, dtype=torch.float64))
    found = []
    for own, other in (shards, shards[::-1]):
        alone = PolicyUnroll.over(policy.model, other, grpo=GRPO, controller=TRACKING, groups=1)
        ranks = TwoRanks([alone.inner_tokens, alone.outer_tokens, alone.informative_groups])
        unroll = PolicyUnroll.over(
            policy.model, own, grpo=GRPO, controller=TRACKING, groups=1, ranks=cast("UnrollRanks", ranks)
        )
        with torch.no_grad():
            found.append(unroll.outer(unroll.params, at)[0].item())
    assert sum(found) / 2 == pytest.approx(statistics(whole).mean("informative_weight_entropy"), rel=1e-12)


def test_without_an_informative_group_it_is_finite(policy: Policy, batch: PreparedBatch) -> None:
    found = unrolled(policy, rewarded(batch, [TIED[0], TIED[1], TIED[0], TIED[1]]))
    assert (found.entropy, found.entropy_tau, found.entropy_beta) == (0.0, 0.0, 0.0)
    assert found.is_finite() and found.kl_beta != 0.0
