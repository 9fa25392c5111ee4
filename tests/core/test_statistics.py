"""Statistics against plain Python sums; W shards of one batch against the whole."""

from __future__ import annotations

import json
import math
import random
from dataclasses import fields, replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from maxent_ray.core.measurement import batch_statistics, measure_groups
from maxent_ray.core.statistics import COUNTED_IN, UNITS, BatchStatistics, CoefficientBounds, merge, merge_all
from maxent_ray.core.weighting import group_weights, listwise_q, weight_entropy, weight_kl

TAU, BETA = 0.3, 0.1
NAMES = [field.name for field in fields(BatchStatistics)]
COUNTS = (
    "groups", "completions", "tokens", "tied_groups", "informative_groups", "solved_groups", "ranged_groups",
    "ranged_informative_groups",
)  # fmt: skip
BOUNDS = CoefficientBounds(tau=(0.01, 3.0), beta=(1e-4, 2.0))


class Measurements(NamedTuple):
    """B groups of G sequences of up to C tokens; token tensors are [B, G, C]: groups can be cut out."""

    rewards: Tensor
    log_q: Tensor
    rho: Tensor
    token_entropy: Tensor
    token_kl: Tensor
    token_mask: Tensor

    def take(self, groups: Tensor) -> Measurements:
        return Measurements(*(part[groups] for part in self))

    def statistics(self, tau: float = TAU, beta: float = BETA) -> BatchStatistics:
        rewards, log_q, rho, *tokens = self
        flat = [part.flatten(0, 1) for part in tokens]
        return batch_statistics(measure_groups(rewards, log_q, rho, tau, beta), *flat, bounds=BOUNDS)


def measure(
    groups: int = 15, size: int = 5, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Measurements:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 2, (groups, size), generator=generator).to(dtype)
    rewards[0] = 1.0  # one group that ties for sure
    shape = (groups, size, 7)
    return Measurements(
        rewards=rewards,
        log_q=listwise_q(rewards, 1.0, 1e-6).log(),
        rho=2 * torch.randn(groups, size, generator=generator, dtype=dtype) - 3,
        token_entropy=torch.rand(shape, generator=generator, dtype=dtype),
        token_kl=torch.rand(shape, generator=generator, dtype=dtype),
        token_mask=torch.rand(shape, generator=generator) < 0.6,
    )


def assert_same(actual: BatchStatistics, expected: BatchStatistics, tolerance: float = 1e-12) -> None:
    for name in NAMES:
        a, b = getattr(actual, name), getattr(expected, name)
        if b is None:
            assert a is None, name
            continue
        assert abs(a - b) <= tolerance * max(1.0, abs(b)), name


# --- what is measured ---


def test_counts_and_sums_by_plain_python() -> None:
    batch = measure()
    statistics = batch.statistics()
    weights = [_weights(q, r) for q, r in zip(batch.log_q.tolist(), batch.rho.tolist(), strict=True)]
    assert statistics.groups == 15
    assert statistics.completions == 75
    assert statistics.tokens == sum(batch.token_mask.flatten().tolist())
    assert statistics.tied_groups == sum(len(set(row)) == 1 for row in batch.rewards.tolist()) >= 1
    assert statistics.reward_sum == sum(map(sum, batch.rewards.tolist()))
    assert statistics.weight_entropy_sum == pytest.approx(-sum(w * math.log(w) for ws in weights for w in ws))
    assert statistics.weight_kl_sum == pytest.approx(sum(map(_kl, weights, batch.rho.tolist())))
    kept = batch.token_mask.flatten().tolist()
    for name, values in (("policy_entropy_sum", batch.token_entropy), ("policy_kl_sum", batch.token_kl)):
        expected = sum(v for v, keep in zip(values.flatten().tolist(), kept, strict=True) if keep)
        assert getattr(statistics, name) == pytest.approx(expected)


def _weights(log_q: list[float], rho: list[float]) -> list[float]:
    tilted = [math.exp((q + BETA * r) / (TAU + BETA)) for q, r in zip(log_q, rho, strict=True)]
    return [t / sum(tilted) for t in tilted]


def _kl(weights: list[float], rho: list[float]) -> float:
    p = [math.exp(r) / sum(map(math.exp, rho)) for r in rho]
    return sum(w * math.log(w / q) for w, q in zip(weights, p, strict=True))


def test_the_derivatives_are_those_of_the_measured_entropy_and_kl() -> None:
    batch, h = measure(), 1e-5

    def mean(signal: str, tau: float, beta: float) -> float:
        value = batch.statistics(tau, beta).mean(signal)
        assert value is not None
        return value

    def slope(signal: str, d_tau: float, d_beta: float) -> float:
        up, down = (mean(signal, TAU + s * d_tau, BETA + s * d_beta) for s in (h, -h))
        return (up - down) / (2 * h)

    assert mean("entropy_tau", TAU, BETA) == pytest.approx(slope("weight_entropy", 1, 0), rel=1e-7)
    assert mean("entropy_beta", TAU, BETA) == pytest.approx(slope("weight_entropy", 0, 1), rel=1e-7)
    assert mean("kl_beta", TAU, BETA) == pytest.approx(slope("weight_kl", 0, 1), rel=1e-7)
    assert mean("kl_beta", TAU, BETA) < 0


def test_the_weights_measured_are_the_ones_trained_with() -> None:
    batch = measure()
    weights = group_weights(batch.log_q, batch.rho, TAU, BETA)
    statistics = batch.statistics()
    assert statistics.mean("weight_entropy") == pytest.approx(weight_entropy(weights).mean().item())
    assert statistics.mean("weight_kl") == pytest.approx(weight_kl(weights, batch.rho).mean().item())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_the_bounds_give_is_what_a_batch_weighted_there_measures(dtype: torch.dtype) -> None:
    batch = measure(dtype=dtype)
    statistics = batch.statistics()
    for (low, high), name, measured in (
        (BOUNDS.tau, "entropy_at_tau", lambda tau: batch.statistics(tau, BETA).weight_entropy_sum),
        (BOUNDS.beta, "kl_at_beta", lambda beta: batch.statistics(TAU, beta).weight_kl_sum),
    ):
        assert getattr(statistics, f"{name}_min_sum") == pytest.approx(measured(low), rel=1e-6)
        assert getattr(statistics, f"{name}_max_sum") == pytest.approx(measured(high), rel=1e-6)
    assert statistics.ranged_groups == statistics.groups


def test_without_bounds_no_range_is_claimed() -> None:
    rewards, log_q, rho, *tokens = measure()
    groups = measure_groups(rewards, log_q, rho, TAU, BETA)
    statistics = batch_statistics(groups, *(part.flatten(0, 1) for part in tokens))
    assert statistics.ranged_groups == 0
    assert statistics.mean("entropy_at_tau_max") is None


def test_padding_plays_no_part() -> None:
    batch = measure()
    padded = batch._replace(
        token_entropy=batch.token_entropy.masked_fill(~batch.token_mask, math.nan),
        token_kl=batch.token_kl.masked_fill(~batch.token_mask, math.inf),
    )
    assert padded.statistics() == batch.statistics()


def test_half_precision_rewards_of_a_gpu_run_are_summed_in_double() -> None:
    """4097 ones: bfloat16 and float16 cannot count that far."""
    batch = measure(groups=1, size=4097, dtype=torch.float32)
    batch = batch._replace(rewards=torch.ones(1, 4097, dtype=torch.bfloat16))
    assert batch.statistics().reward_sum == 4097


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ("weight_entropy", 3.0 / 2),
        ("weight_kl", 5.0 / 2),
        ("entropy_tau", 7.0 / 2),
        ("entropy_beta", 11.0 / 2),
        ("kl_beta", -13.0 / 2),
        ("policy_entropy", 17.0 / 20),
        ("policy_kl", 19.0 / 20),
        ("reward", 4.0 / 16),
        ("entropy_at_tau_min", 23.0 / 5),
        ("entropy_at_tau_max", 29.0 / 5),
        ("kl_at_beta_min", 31.0 / 5),
        ("kl_at_beta_max", 37.0 / 5),
    ],
)
def test_each_signal_is_divided_by_what_it_is_counted_in(signal: str, expected: float) -> None:
    statistics = BatchStatistics(
        groups=2,
        completions=16,
        tokens=20,
        reward_sum=4.0,
        weight_entropy_sum=3.0,
        weight_kl_sum=5.0,
        entropy_tau_sum=7.0,
        entropy_beta_sum=11.0,
        kl_beta_sum=-13.0,
        policy_entropy_sum=17.0,
        policy_kl_sum=19.0,
        ranged_groups=5,
        entropy_at_tau_min_sum=23.0,
        entropy_at_tau_max_sum=29.0,
        kl_at_beta_min_sum=31.0,
        kl_at_beta_max_sum=37.0,
    )
    assert statistics.mean(signal) == expected
    assert BatchStatistics().mean(signal) is None


def test_an_unknown_signal_is_no_number() -> None:
    with pytest.raises(KeyError, match="groups"):
        BatchStatistics(groups=1).mean("groups")


def test_share_of_tied_groups() -> None:
    assert BatchStatistics(groups=8, tied_groups=2).tied_share == 0.25
    assert BatchStatistics().tied_share == 0.0


# --- merging ---


@pytest.mark.parametrize("shards", [1, 2, 7])
@pytest.mark.parametrize("size", [2, 5, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("beta", [0.0, BETA])
def test_shards_merge_to_the_whole(shards: int, size: int, dtype: torch.dtype, beta: float) -> None:
    """15 groups over 7 ranks: one has 3 groups and the others 2, with different numbers of tokens."""
    batch = measure(size=size, dtype=dtype, seed=shards)
    parts = [batch.take(part).statistics(TAU, beta) for part in torch.arange(15).tensor_split(shards)]
    assert len(parts) == shards
    assert shards == 1 or len({part.tokens for part in parts}) > 1
    assert_same(merge_all(parts), batch.statistics(TAU, beta))


def test_a_mean_over_unequal_shards_is_not_the_mean_of_their_means() -> None:
    batch = measure()
    parts = [batch.take(part).statistics() for part in (torch.arange(0, 2), torch.arange(2, 15))]
    merged, means = merge_all(parts).mean("policy_kl"), [part.mean("policy_kl") for part in parts]
    assert merged == pytest.approx(batch.statistics().mean("policy_kl"), rel=1e-12)
    assert merged != pytest.approx(sum(m for m in means if m is not None) / 2, rel=1e-4)


def random_statistics(rng: random.Random) -> BatchStatistics:
    """Whole numbers below 2⁴⁰, so that sums are exact and the laws below hold to the last bit.

    Some counts are 0, and some signals not measured.
    """
    counts = {name: rng.choice([0, rng.randrange(1000)]) for name in COUNTS}
    sums = {name: float(rng.randrange(-(2**40), 2**40)) for name in NAMES if name not in COUNTS}
    unknown = {f"{signal}_sum": None for signal in UNITS if rng.random() < 0.3}
    return BatchStatistics(**{**counts, **sums, **unknown})  # type: ignore[arg-type]


def test_merging_is_associative_and_commutative_with_a_unit() -> None:
    rng = random.Random(0)
    for _ in range(500):
        a, b, c = (random_statistics(rng) for _ in range(3))
        assert merge(a, merge(b, c)) == merge(merge(a, b), c)
        assert merge(a, b) == merge(b, a)
        assert merge(a, BatchStatistics()) == a == merge(BatchStatistics(), a)
        assert merge_all([a, b, c]) == merge(a, merge(b, c))
    assert merge_all([]) == BatchStatistics()


def test_merging_adds_every_field() -> None:
    """A field that merge forgot would keep its own value."""
    ones = BatchStatistics(**dict.fromkeys(NAMES, 1))
    assert merge(ones, ones).to_dict() == dict.fromkeys(NAMES, 2)


@pytest.mark.parametrize("signal", UNITS)
def test_a_signal_that_one_side_did_not_measure_has_no_mean_over_both(signal: str) -> None:
    """As a mean of the tokens that were measured over all of them would be too small."""
    count = COUNTED_IN[signal]
    known = BatchStatistics(**{count: 4, f"{signal}_sum": 2.0})  # type: ignore[arg-type]
    unknown, nothing = BatchStatistics(**{count: 4}), BatchStatistics(**{f"{signal}_sum": 0.0})  # type: ignore[arg-type]
    assert (known.mean(signal), unknown.mean(signal), nothing.mean(signal)) == (0.5, None, None)
    assert merge(known, unknown).mean(signal) is None
    assert merge_all([unknown, nothing, known]).mean(signal) is None
    assert merge_all([nothing, known, BatchStatistics()]) == known


def test_statistics_of_older_versions_are_read() -> None:
    """They had sums of 0 where now there are none."""
    older = {**BatchStatistics().to_dict(), **{f"{signal}_sum": 0.0 for signal in UNITS}}
    known = BatchStatistics(tokens=4, policy_kl_sum=2.0, groups=1, weight_entropy_sum=1.0)
    merged = merge(BatchStatistics.from_dict(json.loads(json.dumps(older))), known)
    assert (merged.mean("policy_kl"), merged.mean("weight_entropy"), merged.mean("policy_entropy")) == (0.5, 1.0, None)


# --- checks and JSON ---


def test_good_statistics_have_no_invalid_field() -> None:
    assert measure().statistics().invalid_field() is None
    assert BatchStatistics().invalid_field() is None
    assert BatchStatistics(kl_beta_sum=-1.0, reward_sum=-5.0).invalid_field() is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_field_that_is_not_finite_is_named(name: str, value: float) -> None:
    invalid = replace(BatchStatistics(), **{name: value}).invalid_field()  # type: ignore[arg-type]
    assert invalid is not None
    assert invalid[0] == name
    assert not math.isfinite(invalid[1])


@pytest.mark.parametrize("name", COUNTS)
def test_a_negative_count_is_named(name: str) -> None:
    assert replace(BatchStatistics(), **{name: -1}).invalid_field() == (name, -1)


def test_statistics_survive_json() -> None:
    statistics = measure().statistics()
    for each in (statistics, BatchStatistics(tokens=3, policy_kl_sum=0.5)):
        text = json.dumps(each.to_dict(), allow_nan=False)
        assert BatchStatistics.from_dict(json.loads(text)) == each
