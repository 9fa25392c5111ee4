from __future__ import annotations

import math

import numpy as np
import pytest

from maxent_ray.errors import ConfigError
from maxent_ray.evaluation.bootstrap import (
    Interval,
    bootstrap_interval,
    paired_interval,
    seed_and_prompt_interval,
    seed_paired_interval,
)


def test_bootstrap_is_near_the_normal_interval() -> None:
    """n = 400 coin flips: mean ± 1.96·sqrt(p(1-p)/n) = 0.5 ± 0.049, to within the bootstrap's own noise."""
    low, high = bootstrap_interval([0.0, 1.0] * 200)
    half = 1.959964 * 0.5 / math.sqrt(400)
    assert low == pytest.approx(0.5 - half, abs=0.006)
    assert high == pytest.approx(0.5 + half, abs=0.006)


def test_bootstrap_covers_the_true_mean() -> None:
    """Of 200 intervals at 90 %, about 180 hold the true mean (standard deviation 4.2)."""
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        sample = rng.normal(1.0, 2.0, size=60)
        hits += not bootstrap_interval(sample.tolist(), confidence=0.9, seed=trial, resamples=500).excludes(
            1.0
        )
    assert 162 <= hits <= 196


def test_confidence_widens_and_the_seed_repeats() -> None:
    values = [index / 40 for index in range(40)]
    narrow, wide = (bootstrap_interval(values, confidence=confidence) for confidence in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


@pytest.mark.parametrize("values", [[0.0], [0.3], [0.0] * 50, [1.0] * 50, [0.1 + 0.2, 0.3] * 20])
def test_constant_values_have_no_width(values: list[float]) -> None:
    low, high = bootstrap_interval(values)
    assert low == high == pytest.approx(values[0])


def test_almost_constant_values_have_an_interval() -> None:
    low, high = bootstrap_interval([0.0] * 127 + [1.0])
    assert 0.0 <= low < 1 / 128 < high < 0.1


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        ([], {}, "values has shape"),
        ([0.0, math.nan], {}, "values holds nan"),
        ([0.0, math.inf], {}, "values holds inf"),
        ([0.0, 1.0], {"confidence": 0.0}, "confidence is 0.0"),
        ([0.0, 1.0], {"confidence": 95.0}, "confidence is 95.0"),
        ([0.0, 1.0], {"resamples": 0}, "resamples is 0"),
    ],
)
def test_bad_interval_input(values: list[float], settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        bootstrap_interval(values, **settings)  # type: ignore[arg-type]


def test_pairing_removes_what_the_prompts_share() -> None:
    """Prompts differ by 0 … 1, the runs by 0.1 ± 0.01: only the paired interval sees it."""
    rng = np.random.default_rng(1)
    hard = rng.random(100)
    a, b = hard + 0.1 + rng.normal(0, 0.01, 100), hard
    paired = paired_interval(a.tolist(), b.tolist())
    assert paired.excludes(0.0)
    assert 0.09 < paired.low < 0.1 < paired.high < 0.11
    assert bootstrap_interval(a.tolist()).low < bootstrap_interval(b.tolist()).high


def test_paired_interval_is_that_of_the_differences() -> None:
    a, b = [1.0, 0.5, 0.25, 0.75], [0.5, 0.5, 0.5, 0.0]
    assert paired_interval(a, b) == bootstrap_interval([0.5, 0.0, -0.25, 0.75])
    assert paired_interval(a, a) == Interval(0.0, 0.0)


def test_seed_paired_interval_resamples_prompts_as_clusters() -> None:
    """Oracle: draw prompts with all of their seeds, pool the seeds × prompts table, take its mean.

    Three seeds that agree on every prompt say no more than one of them, though the table is thrice as long.
    """
    rng = np.random.default_rng(2)
    prompt_effect = rng.normal(0.2, 1.0, 80)
    a = np.stack([prompt_effect + rng.normal(0, 0.1, 80) for _ in range(3)])
    b = np.zeros((3, 80))
    interval = seed_paired_interval(a.tolist(), b.tolist(), resamples=4000)
    means = [a[:, rng.integers(0, 80, 80)].mean() for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert interval.low == pytest.approx(low, abs=0.03)
    assert interval.high == pytest.approx(high, abs=0.03)
    pooled = bootstrap_interval(a.ravel().tolist())
    assert interval.high - interval.low > 1.5 * (pooled.high - pooled.low)


def test_seed_paired_interval_with_one_seed_is_the_paired_one() -> None:
    a, b = [0.1, 0.9, 0.4, 0.6, 0.2], [0.3, 0.1, 0.2, 0.2, 0.1]
    assert seed_paired_interval([a], [b], seed=9) == paired_interval(a, b, seed=9)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([], []),
        ([[1.0]], [[1.0], [1.0]]),
        ([[1.0, 2.0]], [[1.0]]),
        ([[1.0, 2.0], [1.0]], [[1.0, 2.0], [1.0]]),
    ],
)
def test_tables_that_do_not_pair(a: list[list[float]], b: list[list[float]]) -> None:
    with pytest.raises(ConfigError, match="both need the same seeds"):
        seed_paired_interval(a, b)


def test_seeds_and_prompts_add_their_variances() -> None:
    """For values s_i + p_j the variance of a resample's mean is var(s)/S + var(p)/P, both as population variances."""
    seeds, prompts = np.linspace(-1, 1, 12), np.linspace(-4, 6, 300)
    table = seeds[:, None] + prompts[None, :]
    low, high = seed_and_prompt_interval(table.tolist(), resamples=20000)
    half = 1.959964 * math.sqrt(seeds.var() / 12 + prompts.var() / 300)
    assert (high - low) / 2 == pytest.approx(half, rel=0.03)
    assert (low + high) / 2 == pytest.approx(table.mean(), abs=0.05 * half)


def test_the_interval_over_seeds_is_wider_than_that_of_given_seeds() -> None:
    rng = np.random.default_rng(2)
    ours = (rng.normal(size=(5, 1)) + rng.normal(size=(5, 80))).tolist()
    theirs = np.zeros((5, 80)).tolist()
    of_these, of_any = seed_paired_interval(ours, theirs), seed_and_prompt_interval(ours, theirs)
    assert of_any.high - of_any.low > 2 * (of_these.high - of_these.low)
    assert seed_and_prompt_interval(ours, ours) == Interval(0.0, 0.0)


def test_an_interval_does_not_depend_on_those_before_it() -> None:
    """Resamples are kept for tables of one shape, number and seed: none may get those of another."""
    rng = np.random.default_rng(3)
    wide, tall = rng.normal(size=(3, 20)).tolist(), rng.normal(size=(20, 3)).tolist()
    cases = [(wide, 0, 200), (tall, 0, 200), (wide, 1, 200), (wide, 0, 300)]
    first = [seed_and_prompt_interval(table, seed=seed, resamples=count) for table, seed, count in cases]
    again = [seed_and_prompt_interval(table, seed=seed, resamples=count) for table, seed, count in reversed(cases)]
    assert again[::-1] == first
    assert len(set(first)) == len(cases)


@pytest.mark.parametrize(
    ("a", "b", "named"),
    [
        ([], None, "a has 0 seeds"),
        ([[]], None, "prompts"),
        ([[0.0, 1.0], [0.0]], None, r"\[1, 2\] prompts"),
        ([[0.0, 1.0]], [[0.0]], "b has 1 seeds"),
        ([[0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]], "b has 2 seeds"),
        ([[0.0, math.nan]], None, "a holds nan"),
    ],
    ids=["none", "no prompts", "ragged", "other prompts", "other seeds", "nan"],
)
def test_seed_and_prompt_interval_refuses(
    a: list[list[float]], b: list[list[float]] | None, named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        seed_and_prompt_interval(a, b)
