"""Perturbed values stay inside their bounds, over 10 000 perturbations on each way that they come about."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.schedulers.pbt import _explore

from maxent_ray.config import Choice, Domain, LogUniform, Uniform
from maxent_ray.config.loading import load_config
from maxent_ray.errors import ConfigError
from maxent_ray.tune.search_space import SearchKey, SearchSpace, build_search_space
from maxent_ray.tune.trial_spec import TrialSpec, population
from tests.tune.fake_tune import FakeTune

CHAIN = 25
"""Perturbations of one chain, each of what the last one gave."""

FLOATS = st.floats(-1e300, 1e300)
POSITIVE = st.floats(1e-300, 1e300)
INTEGERS = st.integers(-(10**9), 10**9)


def ordered(values: Any) -> tuple[Any, Any]:
    return min(values), max(values)


UNIFORM = st.tuples(FLOATS, FLOATS).map(ordered).map(lambda ends: Uniform(low=ends[0], high=ends[1]))
LOG_UNIFORM = st.tuples(POSITIVE, POSITIVE).map(ordered).map(lambda ends: LogUniform(low=ends[0], high=ends[1]))
WHOLE = st.tuples(INTEGERS, INTEGERS).map(ordered).map(lambda ends: Uniform(low=ends[0], high=ends[1]))
WHOLE_LOG = (
    st.tuples(st.integers(1, 10**9), st.integers(1, 10**9))
    .map(ordered)
    .map(lambda ends: LogUniform(low=ends[0], high=ends[1]))
)
NUMBERS = st.lists(st.one_of(INTEGERS, FLOATS), min_size=1, max_size=5, unique=True).map(
    lambda values: Choice(values=tuple(values))
)
KEYS = st.one_of(
    st.tuples(st.one_of(UNIFORM, LOG_UNIFORM, NUMBERS), st.just(False)),
    st.tuples(st.one_of(WHOLE, WHOLE_LOG), st.just(True)),
)


def holds(key: SearchKey, value: Any) -> bool:
    """Whether the domain has the value, of the type that the setting has."""
    domain: Domain = key.domain
    if isinstance(domain, Choice):
        return value in domain.values
    return domain.low <= value <= domain.high and type(value) is (int if key.integer else float)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    keys=st.lists(KEYS, min_size=1, max_size=4),
    start=st.lists(st.one_of(FLOATS, INTEGERS), min_size=4, max_size=4),
    seed=st.integers(0, 2**32),
    resample_probability=st.sampled_from([0.0, 0.0, 0.25, 1.0]),
)
def test_chains_of_perturbations_stay_inside_whatever_the_bounds_and_the_start(
    keys: list[tuple[Domain, bool]], start: list[float], seed: int, resample_probability: float
) -> None:
    """400 × 25 perturbations, from values that were made with other bounds."""
    named = tuple(SearchKey(f"key{index}", domain, integer) for index, (domain, integer) in enumerate(keys))
    space, rng = SearchSpace(named), np.random.default_rng(seed)
    values: dict[str, Any] = dict(zip(space.names, start, strict=False))
    for _ in range(CHAIN):
        values = space.explore(values, rng, resample_probability).values
        for key in named:
            assert holds(key, values[key.name]), (key, values[key.name])
        assert space.clamp(values) == values  # to clamp what is inside changes nothing


OVERRIDES = [
    "tune.objectives=[analytic]",
    "tune.trials_per_objective=2",
    "tune.search_space={controller.target_kl: {type: loguniform, low: 0.03, high: 0.15}, "
    "controller.target_entropy_fraction: {type: uniform, low: 0.85, high: 0.97}, "
    "controller.warmup_steps: {type: uniform, low: 0, high: 10}, "
    "controller.update_interval: {type: choice, values: [1, 2, 4]}}",
]


@pytest.mark.parametrize("path", ["ours", "ray's"])
def test_a_population_perturbed_ten_thousand_times_has_only_valid_settings(path: str) -> None:
    """Through the scheduler, each new configuration starting the next; and through Ray's class with our clamp."""
    config = load_config(overrides=OVERRIDES)
    space = build_search_space(config)
    pbt = FakeTune(config.tune, space, population(config, space))
    donor, recipient = pbt.trials
    perturb = pbt.scheduler._get_new_config if path == "ours" else ray_perturbation(pbt)
    random.seed(0)
    seen: dict[str, set[Any]] = {key.name: set() for key in space.keys}
    for step in range(10_000):
        pbt.scheduler._trial_state[recipient].last_train_time = step  # type: ignore[index]  # chance follows it
        donor.set_config({**donor.config, **perturb(recipient, donor)[0], "trial": "analytic-1"})
        values = TrialSpec.from_config(donor.config).values
        for key in space.keys:
            assert holds(key, values[key.name]), (key, values)
            seen[key.name].add(values[key.name])
        donor, recipient = recipient, donor
        donor.set_config({**donor.config, **{name: values[name] for name in space.names}})
    for key in space.keys:  # the walk did press against the bounds
        ends = key.domain.values if isinstance(key.domain, Choice) else (key.domain.low, key.domain.high)
        assert set(ends) <= seen[key.name]
    TrialSpec.from_config(donor.config).experiment()


def ray_perturbation(pbt: FakeTune) -> Any:
    """What Ray's own class does with our domains and our clamp."""
    return lambda recipient, donor: PopulationBasedTraining._get_new_config(pbt.scheduler, recipient, donor)


def test_without_the_clamp_rays_perturbation_leaves_the_bounds() -> None:
    """Why there is one: it multiplies, and looks at no bound."""
    random.seed(0)
    values, outside = {"kl_target": 0.08}, 0
    for _ in range(1000):
        values, _ = _explore(values, {"kl_target": tune.loguniform(0.03, 0.15)}, 0.1, (0.8, 1.2), None)
        outside += not 0.03 <= values["kl_target"] <= 0.15
    assert outside > 100


@pytest.mark.parametrize("value", [math.nan, "wide", None, True])
@pytest.mark.parametrize("domain", [Uniform(low=0, high=1), LogUniform(low=0.1, high=1)])
def test_what_is_no_number_is_named_and_not_carried_on(value: Any, domain: Domain) -> None:
    with pytest.raises(ConfigError, match=r"controller\.target_kl is .*; it must be a number"):
        SearchKey("controller.target_kl", domain, integer=False).clamp(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e308, -(10**400), 10**400], ids=lambda value: str(value)[:6])
def test_what_is_out_of_all_bounds_is_brought_to_the_nearest(value: float) -> None:
    for integer in (False, True):
        key = SearchKey("controller.target_kl", Uniform(low=1, high=3), integer)
        assert key.clamp(value) == (3 if value > 0 else 1)


@pytest.mark.parametrize("bounds", ["low: .nan, high: 1", "low: 0, high: .inf", "low: -.inf, high: 0"])
def test_bounds_that_bound_nothing_are_refused(bounds: str) -> None:
    with pytest.raises(ConfigError, match=r"controller\.target_kl"):
        load_config(overrides=[f"tune.search_space={{controller.target_kl: {{type: uniform, {bounds}}}}}"])
