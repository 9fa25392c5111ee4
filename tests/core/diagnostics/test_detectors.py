"""Coefficients without effect raise one alarm; healthy ones raise none."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.diagnostics.alarms import Alarm, AlarmKind, stuck, unreachable
from maxent_ray.core.diagnostics.detector_state import DetectorState, Observation
from maxent_ray.core.diagnostics.detectors import _no_response, apply_detectors
from maxent_ray.core.diagnostics.observer import Observer, ObserverState
from maxent_ray.core.diagnostics.saturation import BoundContact
from maxent_ray.core.diagnostics.trend import Trend
from maxent_ray.core.measurement import batch_statistics, measure_groups
from maxent_ray.core.objectives import Decoupled, TruncatedBackprop
from maxent_ray.core.state import ControllerState, Decision
from maxent_ray.core.statistics import BatchStatistics, Reach
from maxent_ray.core.update_rules import PI, EntropyStep
from maxent_ray.core.validation import check_fields, read_dataclass, to_plain
from maxent_ray.core.weighting import group_weights, listwise_q, weight_entropy, weight_kl
from maxent_ray.core.weightings import MaxEntWeighting

BETA_ONLY = ControllerConfig(
    group_size=8, target_kl=0.05, beta=0.1, beta_min=0.01, beta_max=1.0, set_point_horizon=0
)
TAU_ONLY = ControllerConfig(
    group_size=8, entropy_signal="policy_entropy", target_entropy=1.0, tau=0.3, tau_min=0.1, tau_max=3.0
)
Plant = Callable[[ControllerState], BatchStatistics]


def kl_of(value: float) -> BatchStatistics:
    return BatchStatistics(tokens=1, policy_kl_sum=value)


def entropy_of(value: float) -> BatchStatistics:
    return BatchStatistics(tokens=1, policy_entropy_sum=value)


class Loop:
    """A closed loop, and an observer of its decisions."""

    def __init__(self, config: ControllerConfig, plant: Plant, memory: ObserverState = ObserverState()) -> None:
        self.controller, self.observer, self.plant = Controller(config), Observer(config), plant
        self.state, self.memory = self.controller.init(), memory

    def step(self) -> tuple[Decision, tuple[Alarm, ...]]:
        self.state, decision = self.controller.step(self.state, self.plant(self.state))
        self.memory, found = self.observer.observe(self.memory, decision)
        return decision, found

    def alarms(self, steps: int) -> dict[int, Alarm]:
        found = [(decision.step, alarm) for decision, alarms in (self.step() for _ in range(steps)) for alarm in alarms]
        assert len(dict(found)) == len(found), "two alarms in one step"
        return dict(found)


def alarms(config: ControllerConfig, plant: Plant, steps: int) -> dict[int, Alarm]:
    return Loop(config, plant).alarms(steps)


# --- saturated ---


def test_a_coefficient_at_its_bound_is_reported_after_the_patience_and_once() -> None:
    """e = .5 (cut): ln β rises by .1 a step from ln .1; 23.03 steps to 1, so the 24th (23) is the first one held."""
    found = alarms(BETA_ONLY, lambda state: kl_of(0.2), 400)
    assert list(found) == [23 + 19]
    alarm = found[42]
    assert (alarm.kind, alarm.coefficient) == (AlarmKind.SATURATED, "beta")
    assert alarm.figures == pytest.approx({"bound": 1.0, "updates": 20, "measured": 0.2, "target": 0.05})
    assert alarm.message.startswith("β has been at its upper bound (beta_max = 1) for 20 updates")
    assert "policy_kl is 0.2 nats, the target 0.05" in alarm.message
    assert "Raise beta_max, or change target_kl." in alarm.message


def test_the_lower_bound_and_the_patience() -> None:
    config = replace(TAU_ONLY, saturation_patience=50)
    (alarm,) = alarms(config, lambda state: entropy_of(3.0), 200).values()
    assert alarm.message.startswith("τ has been at its lower bound (tau_min = 0.1) for 50 updates")


def test_no_alarm_while_the_error_goes_away_by_itself() -> None:
    """KL rises to its target over 60 steps while β waits at its lower bound: as a run from a warm start does."""
    kl = iter([0.05 * min(1.0, step / 60) for step in range(400)])
    config = replace(BETA_ONLY, beta=0.01)
    assert alarms(config, lambda state: kl_of(next(kl)), 200) == {}


def test_no_alarm_for_errors_that_go_both_ways_at_a_bound() -> None:
    rng = random.Random(0)
    config = replace(BETA_ONLY, beta=1.0)
    assert alarms(config, lambda state: kl_of(0.05 * rng.uniform(0.5, 1.5)), 2000) == {}


def test_a_resume_or_a_clone_says_nothing_twice_and_new_settings_may() -> None:
    plant: Plant = lambda state: kl_of(0.2)  # noqa: E731
    first = Loop(BETA_ONLY, plant)
    first.alarms(100)
    memory = read_dataclass(ObserverState, json.loads(json.dumps(to_plain(first.memory))), "alarms")
    assert memory == first.memory
    assert Loop(BETA_ONLY, plant, memory).alarms(100) == {}
    for changed in (replace(BETA_ONLY, target_kl=0.04), replace(BETA_ONLY, beta_max=2.0)):
        found = Loop(changed, plant, memory).alarms(100)
        assert [alarm.kind for alarm in found.values()] == [AlarmKind.SATURATED]
    same_but_faster = replace(BETA_ONLY, beta_rule=PI(learning_rate=0.5))
    assert Loop(same_but_faster, plant, memory).alarms(100) == {}


def test_an_annealed_target_is_one_setting() -> None:
    config = replace(TAU_ONLY, target_entropy_final=2.0, target_entropy_horizon=300)
    assert len(alarms(config, lambda state: entropy_of(0.1), 400)) == 1


def test_steps_that_do_not_update_do_not_count() -> None:
    late = replace(BETA_ONLY, warmup_steps=50)
    assert min(alarms(late, lambda state: kl_of(0.2), 200)) == 50 + 42
    rare = replace(BETA_ONLY, update_interval=3)
    assert min(alarms(rare, lambda state: kl_of(0.2), 200)) == 3 * 42 + 2


def test_a_coefficient_that_is_held_fixed_is_not_looked_at() -> None:
    fixed = replace(BETA_ONLY, objective=None, beta=1.0)
    assert alarms(fixed, lambda state: kl_of(0.2), 100) == {}


# --- unreachable ---


def groups(
    count: int = 6, size: int = 8, seed: int = 0, ties: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 2, (count, size), generator=generator).double()
    rewards[:, 0], rewards[:, 1] = 0.0, 1.0
    rewards[:ties] = 1.0
    return rewards, listwise_q(rewards, 1.0, 1e-6).log(), torch.randn(count, size, generator=generator).double() - 3


def weighted(config: ControllerConfig, batch: tuple[torch.Tensor, ...], tau: float, beta: float) -> BatchStatistics:
    rewards, log_q, rho = batch
    tokens = torch.full((rewards.numel(), 1), 0.05, dtype=torch.float64)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    groups = measure_groups(rewards, log_q, rho, tau, beta)
    return batch_statistics(groups, tokens, tokens, mask, bounds=config.coefficient_bounds)


def weights_plant(config: ControllerConfig, batch: tuple[torch.Tensor, ...]) -> Plant:
    return lambda state: weighted(config, batch, state.tau, state.beta)


@pytest.mark.parametrize("beta", [0.0, 0.1, 1.0])
def test_between_the_bounds_nothing_lies_outside_what_the_bounds_give(beta: float) -> None:
    """H(w) rises with τ at any β, KL(w‖p) falls with β at any τ: second derivatives of a convex dual."""
    _, log_q, rho = groups(count=200)
    grid = torch.logspace(-3, 2, 400, dtype=torch.float64).tolist()
    entropies = torch.stack([weight_entropy(group_weights(log_q, rho, tau, beta)) for tau in grid])
    kls = torch.stack([weight_kl(group_weights(log_q, rho, 0.01 + beta, value), rho) for value in grid])
    assert entropies.diff(dim=0).min() > -1e-12
    assert kls.diff(dim=0).max() < 1e-12


def test_a_target_above_what_any_tau_gives_is_reported_with_the_exact_range() -> None:
    batch = groups()
    config = ControllerConfig(group_size=8, target_entropy=2.07, tau=0.3, beta=0.1, tau_min=0.01, tau_max=0.5)
    found = alarms(config, weights_plant(config, batch), 200)
    alarm = found[19]  # the first block, long before τ has been at its bound for as long
    _, log_q, rho = batch
    low, high = (weight_entropy(group_weights(log_q, rho, tau, 0.1)).mean().item() for tau in (0.01, 0.5))
    assert (alarm.kind, alarm.coefficient) == (AlarmKind.UNREACHABLE, "tau")
    assert (alarm.figures["low"], alarm.figures["high"]) == pytest.approx((low, high), rel=1e-12)
    assert f"above what any τ from 0.01 to 0.5 gives: weight_entropy is {high:.4g} at tau_max" in alarm.message
    later = [alarm for step, alarm in found.items() if step > 19]
    assert [alarm.kind for alarm in later] == [AlarmKind.SATURATED]
    assert f"τ reaches {low:.4g} to {high:.4g} nats on this batch; the target does not fit q" in later[0].message


@pytest.mark.parametrize(
    ("ties", "beta", "cause"),
    [
        (4, 1e-3, "in 67% of the groups all rewards tie"),
        (0, 2.0, "β makes 100% of κ"),
        (0, 1e-3, "q and the reference"),
    ],
)
def test_a_target_below_what_any_tau_gives_and_why(ties: int, beta: float, cause: str) -> None:
    config = ControllerConfig(group_size=8, target_entropy=0.5, tau=1e-2, beta=beta, tau_min=1e-3)
    found = alarms(config, weights_plant(config, groups(ties=ties)), 20)
    assert [alarm.kind for alarm in found.values()] == [AlarmKind.UNREACHABLE]
    assert cause in found[19].message


def test_no_alarm_blames_beta_where_it_is_not_in_the_weights() -> None:
    config = ControllerConfig(
        group_size=8, target_entropy=0.5, tau=0.1, beta=2.0, weighting=MaxEntWeighting(reference="loss")
    )
    beta, tau = config.actuator("beta"), config.actuator("tau")
    coefficients = {"value": 0.1, "other": 2.0, "tied_share": 0.0}
    figures: dict[str, Any] = {"updates": 20, "target": 0.5, "reach": Reach(0.7, 2.0), **coefficients}
    assert "q and the reference" in unreachable(tau, **figures).message
    coupled = replace(config, weighting=MaxEntWeighting()).actuator("tau")
    assert "β makes 95% of κ" in unreachable(coupled, **figures).message
    assert beta.share_of_kappa(2.0, 0.1) == 0.0


@pytest.mark.parametrize(("target", "side", "at"), [(3.0, "above", "beta_min"), (0.001, "below", "beta_max")])
def test_a_weight_kl_that_no_beta_gives(target: float, side: str, at: str) -> None:
    batch = groups()
    config = ControllerConfig(group_size=8, kl_signal="weight_kl", target_kl=target, tau=0.3, beta=0.1, beta_max=1.0)
    found = alarms(config, weights_plant(config, batch), 25)
    alarm = found[19]
    end = 1e-4 if at == "beta_min" else 1.0
    value = weight_kl(group_weights(batch[1], batch[2], 0.3, end), batch[2]).mean().item()
    assert alarm.kind is AlarmKind.UNREACHABLE
    assert f"{side} what any β from 0.0001 to 1 gives: weight_kl is {value:.4g} at {at}" in alarm.message


def test_one_odd_batch_does_not_make_a_target_unreachable() -> None:
    """Every tenth batch ties altogether, H = log G whatever τ is; nine of ten reach the target."""
    config = ControllerConfig(group_size=8, target_entropy=1.9, beta=0.0, beta_min=0.0, tau=0.5)
    turn = iter(range(1000))

    def plant(state: ControllerState) -> BatchStatistics:
        step = next(turn)
        return weighted(config, groups(seed=step, ties=6 if step % 10 == 0 else 0), state.tau, state.beta)

    assert alarms(config, plant, 300) == {}


def test_nothing_is_concluded_while_the_other_coefficient_brings_the_target_into_reach() -> None:
    """β falls from far too high, where no τ gives the target, to where one does: by a tenth in every step."""
    config = ControllerConfig(group_size=8, target_entropy=1.0, tau=0.3, tau_max=1.0)
    loop, outside = Loop(config, lambda state: weighted(config, groups(seed=state.step + 1), state.tau, state.beta)), 0
    for step in range(60):
        loop.state = replace(loop.state, beta=10 * 0.9**step)
        decision, found = loop.step()
        assert decision.entropy_reach is not None
        outside += decision.entropy_reach.low > 1.0
        assert AlarmKind.UNREACHABLE not in {alarm.kind for alarm in found}
    assert outside > 20  # of a whole block it was true


def test_statistics_without_ranges_conclude_nothing() -> None:
    config = ControllerConfig(group_size=8, target_entropy=1.0, tau_max=1e6)
    far = BatchStatistics(groups=1, weight_entropy_sum=0.5)
    assert alarms(config, lambda state: far, 40) == {}


# --- no response ---


def test_a_coefficient_that_moves_without_effect() -> None:
    """e = .25 (cut): ln τ falls by .2·.25 a step, by 79·.05 = 3.95 in the first window that is long enough, four times
    the patience. A lag of 500 updates lets .1·3.95/1000·2 = .00079 a step through of the least elasticity; 3 standard
    errors of the slope are 3·.005·√(12/80³) = .00007. (With noise of .02 one of the curvature would still be
    2·.02·√(180/80⁵)·500²/2 = 1.2 > e.)"""
    rng = random.Random(1)
    config = replace(TAU_ONLY, tau=30.0, tau_max=100.0)
    found = alarms(config, lambda state: entropy_of(2.0 + rng.gauss(0, 0.005)), 110)
    alarm = found[79]
    assert (alarm.kind, alarm.coefficient) == (AlarmKind.NO_RESPONSE, "tau")
    assert math.log(alarm.figures["value_before"] / alarm.figures["value_after"]) == pytest.approx(3.95, abs=1e-9)
    assert alarm.figures["signal_before"] == pytest.approx(2.0, abs=0.02)
    assert alarm.message.startswith("τ went from ")
    assert "policy_entropy does not depend on τ here" in alarm.message


def judged(moved: float, noise: float = 0.0) -> list[AlarmKind]:
    """Of a window of 80 updates, in which ln β rose by ``moved``, to the last bit, and e = 1 stayed, ± noise."""
    index_squares = 80 * (80**2 - 1) / 12
    logs = Trend(80, 1.0, products=moved / 79 * index_squares)
    while logs.slope * 79 != moved:  # the quotient may have been rounded
        logs = replace(logs, products=math.nextafter(logs.products, math.copysign(math.inf, moved - logs.slope * 79)))
    window = DetectorState(errors=Trend(80, 1.0, squares=80 * noise**2), log_values=logs)
    seen = Observation(79, 1.0, 0, False, 0.1, 0.05, 0.05, None, 0.3, 0.0)
    actuator = ControllerConfig(group_size=8, target_kl=0.05).actuator("beta")
    return [alarm.kind for alarm in _no_response(window, actuator, seen, 20)]


def test_a_coefficient_must_have_moved_by_a_factor_of_ten_the_right_way() -> None:
    ten = math.log(10)
    assert judged(ten) == [AlarmKind.NO_RESPONSE]
    assert judged(math.nextafter(ten, 0)) == []
    assert judged(-ten) == []  # KL is too high, and β fell


def test_a_slope_within_three_standard_errors_may_be_an_answer() -> None:
    """For e = 1 a lag of 500 updates lets .1·m/1000·2 a step through of the least elasticity. Noise of standard
    deviation d gives the slope one of d·√(80/78)·√(12/(n³ − n)), and three of them are as much at this d."""
    moved = math.log(40)
    edge = 0.1 * moved / 500 / (3 * math.sqrt(80 / 78) * math.sqrt(12 / (80**3 - 80)))
    assert judged(moved, 0.999 * edge) == [AlarmKind.NO_RESPONSE]
    assert judged(moved, 1.001 * edge) == []


def test_the_noise_decides_how_far_it_must_move() -> None:
    """With 20 % noise, ±.4 around e = 1, it takes about 340 updates: 3·.4√(12/n³)·500 + 2·.4√(180/n⁵)·500²/2 = 1. By
    then τ is at its bound, after ln(300)/.05 = 114, and that is another alarm."""
    rng = random.Random(1)
    config = replace(TAU_ONLY, tau=30.0, tau_max=100.0)
    found = alarms(config, lambda state: entropy_of(2.0 * (1 + rng.gauss(0, 0.2))), 500)
    assert [alarm.kind for alarm in found.values()] == [AlarmKind.SATURATED]
    assert min(found) == pytest.approx(114 + 340, abs=40)


def test_a_weak_answer_is_an_answer() -> None:
    """KL ∝ β^(−.2), as fitted on recorded runs, with the noise that they have: 18 % a step."""
    for seed in range(20):
        rng = random.Random(seed)
        config = replace(BETA_ONLY, beta=1e-3, beta_min=1e-4, beta_max=100.0)
        plant = lambda state: kl_of(0.1 * (state.beta / 1e-3) ** -0.2 * (1 + rng.gauss(0, 0.18)))  # noqa: B023, E731
        assert alarms(config, plant, 200) == {}


# --- stuck ---


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        (
            {"beta_rule": PI(learning_rate=1e-6, proportional_gain=0.0)},
            "beta_rule.learning_rate = 1e-06, on errors cut to 0.5, is too small",
        ),
        ({"beta_rule": PI(dead_band=0.9)}, "beta_rule.dead_band = 0.9 is wider than the error"),
        ({"beta_rule": EntropyStep(delta=1e-9)}, "the steps of beta_rule (delta = 1e-09) are too small"),
        ({"beta_min": 0.1, "beta_max": 0.1}, "beta_min and beta_max are equal"),
    ],
)
def test_a_gradient_that_moves_nothing(settings: dict[str, Any], cause: str) -> None:
    found = alarms(replace(BETA_ONLY, **settings), lambda state: kl_of(0.09), 100)
    assert list(found) == [19]
    assert (found[19].kind, found[19].coefficient) == (AlarmKind.STUCK, "beta")
    assert found[19].message.startswith("β has stayed at 0.1 for 20 updates with a gradient to follow: policy_kl")
    assert cause in found[19].message


@pytest.mark.parametrize(
    ("name", "other", "advice"),
    [
        ("tau", 0.1, "entropy flat around this τ (in 25% of the groups all rewards tie); start nearer"),
        ("beta", 0.05, "β has all of κ = τ + β that the form leaves to it (67%); raise target_entropy"),
        ("beta", 1.0, "KL is steered too gently for this error (kl_bandwidth = 0.16); raise kl_bandwidth"),
    ],
)
def test_the_decoupled_form_has_no_learning_rate_to_raise(name: str, other: float, advice: str) -> None:
    config = ControllerConfig(group_size=8, objective=TruncatedBackprop(form=Decoupled()), target_kl=0.05)
    alarm = stuck(
        config.actuator(name),
        value=0.1,
        updates=20,
        measured=0.09,
        target=0.05,
        in_dead_band=False,
        other=other,
        tied_share=0.25,
    )
    assert advice in alarm.message
    assert "learning" not in alarm.message


def test_a_jittering_coefficient_is_not_stuck_because_it_is_back_where_it_was() -> None:
    """β goes up and down by a factor of 1.5 and ends every block where it began."""
    config = ControllerConfig(group_size=8, target_kl=0.05, beta=0.1, beta_rule=PI(proportional_gain=0.0))
    memory, kl = DetectorState(), [0.09, 0.11]
    for step in range(100):
        seen = Observation(step, 0.1 * (1.5 if step % 2 else 1.0), 0, False, kl[step % 2], 0.05, 0.05, None, 0.3, 0.0)
        memory, found = apply_detectors(memory, config.actuator("beta"), seen)
        assert found == ()


def test_a_dead_band_may_leave_small_errors_alone() -> None:
    assert alarms(replace(BETA_ONLY, beta_rule=PI(dead_band=0.1)), lambda state: kl_of(0.0545), 200) == {}


def test_a_coefficient_on_target_may_be_steady() -> None:
    assert alarms(BETA_ONLY, lambda state: kl_of(0.05), 200) == {}
    rng = random.Random(0)
    slow = replace(BETA_ONLY, beta_rule=PI(learning_rate=1e-6, proportional_gain=0.0))
    assert alarms(slow, lambda state: kl_of(0.05 * (1 + rng.gauss(0, 0.2))), 400) == {}


# --- healthy loops ---


@pytest.mark.parametrize("start", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_healthy_loop_raises_nothing(start: float, seed: int) -> None:
    """τ on real weights of 24 groups, half of them tied; β on a KL that answers over 20 steps, with 18 % noise."""
    rng = random.Random(seed)
    config = ControllerConfig(group_size=8, target_entropy=0.95 * math.log(8), target_kl=0.05)
    config = replace(config, tau=0.5 * start, beta=0.1 * start)
    level, batches = 0.0, iter(range(10**6))

    def plant(state: ControllerState) -> BatchStatistics:
        nonlocal level
        level += 0.05 * (0.05 * (state.beta / 0.1) ** -0.5 - level)
        statistics = weighted(config, groups(24, seed=1000 * seed + next(batches), ties=12), state.tau, state.beta)
        return replace(statistics, policy_kl_sum=level * (1 + rng.gauss(0, 0.18)) * statistics.tokens)

    assert alarms(config, plant, 200) == {}


def test_a_memory_that_fits_no_series_stops_no_step() -> None:
    """What passes the door may still contradict itself: no square root of it, and no logarithm, may fail."""
    rng = random.Random(0)
    numbers = (0.0, 1e100, -1e100, 5e-324, 1.0, -1.0, 1e50)

    def trend(count: int) -> Trend:
        return Trend(count, *(rng.choice(numbers), abs(rng.choice(numbers)), rng.choice(numbers), rng.choice(numbers)))

    for _ in range(1000):
        count = rng.choice((0, 1, 2, 3, 19, 79, 499, 2**53 - 1))
        memory = DetectorState(
            fingerprint=BETA_ONLY.actuator("beta").fingerprint,
            errors=trend(count),
            log_values=trend(rng.choice((count, 0, 5))),
            contact=BoundContact(rng.choice((-1, 0, 1)), 3),
            reach_gap=trend(19),
        )
        seen = ObserverState(beta=memory)
        loop = Loop(BETA_ONLY, lambda state: kl_of(rng.choice((0.05, 0.2, -1.0, 1e50))), seen)
        check_fields(loop.memory, "alarms")
        loop.step()
