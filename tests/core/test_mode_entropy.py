"""Entropy of the correct modes of a group against scipy, and its sums over groups."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import scipy.stats
import torch

from maxent_ray.core.measurement import batch_statistics, measure_groups
from maxent_ray.core.mode_entropy import mode_entropy
from maxent_ray.core.statistics import BatchStatistics, merge_all

Modes = list[str | None]


@pytest.mark.parametrize(
    ("modes", "counts"),
    [
        (["a"], [1]),
        (["a", "a", None, "a"], [3]),
        (["a", "b"], [1, 1]),
        (["a", None, "b", "a", None, "c"], [2, 1, 1]),
        (list("abcdefgh"), [1] * 8),
        (["", "a"], [1, 1]),
    ],
    ids=["one", "collapsed", "even", "uneven", "all-distinct", "empty-text-is-a-mode"],
)
def test_it_is_the_entropy_of_the_counts(modes: Modes, counts: list[int]) -> None:
    assert mode_entropy(modes) == pytest.approx(scipy.stats.entropy(counts), abs=1e-15)


def test_random_groups_against_scipy() -> None:
    rng = random.Random(0)
    for _ in range(200):
        modes: Modes = [rng.choice([None, "a", "b", "c", "d"]) for _ in range(rng.randint(1, 16))]
        counts = list(Counter(mode for mode in modes if mode is not None).values())
        found = mode_entropy(modes)
        if not counts:
            assert found is None
        else:
            assert found == pytest.approx(scipy.stats.entropy(counts), abs=1e-14)
            assert 0 <= found <= math.log(len(modes)) + 1e-14


def test_a_group_without_a_correct_answer_has_none() -> None:
    assert mode_entropy([None, None]) is None
    assert mode_entropy([]) is None


def test_the_mean_is_over_the_groups_that_were_solved() -> None:
    groups: list[Modes] = [["a", "b", None, None], [None] * 4, ["c", "c", "c", None], ["a", "b", "c", "d"]]
    measured = statistics(groups)
    assert measured.solved_groups == 3
    assert measured.mean("mode_entropy") == pytest.approx((math.log(2) + 0 + math.log(4)) / 3, rel=1e-15)
    merged = merge_all(statistics([group]) for group in groups)
    assert merged.mean("mode_entropy") == pytest.approx(measured.mean("mode_entropy"), rel=1e-12)


def test_nothing_solved_is_measured_and_has_no_mean() -> None:
    nothing = statistics([[None, None]])
    assert (nothing.mode_entropy_sum, nothing.mean("mode_entropy")) == (0.0, None)
    merged = merge_all([nothing, statistics([["a", "b"]])])
    assert merged.mean("mode_entropy") == pytest.approx(math.log(2))


def test_a_task_that_tells_no_modes_does_not_measure_it() -> None:
    assert statistics(None).mode_entropy_sum is None


def statistics(modes: list[Modes] | None) -> BatchStatistics:
    rewards = torch.zeros(2, 2) if modes is None else torch.zeros(len(modes), len(modes[0]))
    tokens = torch.zeros(1, 1)
    groups = measure_groups(rewards, rewards, rewards, tau=0.3, beta=0.1)
    return batch_statistics(groups, tokens, tokens, tokens > 0, modes=modes)
