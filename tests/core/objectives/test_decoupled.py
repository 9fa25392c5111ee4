"""The decoupled form: its poles in closed form, its two loops apart, and a noisy plant against the analytic rule."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import pytest
import torch

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.diagnostics.alarms import AlarmKind
from maxent_ray.core.diagnostics.observer import Observer, ObserverState
from maxent_ray.core.objectives import (
    Analytic,
    ControllerGradients,
    Decoupled,
    Paired,
    Sensitivity,
    TruncatedBackprop,
    Unroll,
)
from maxent_ray.core.objectives.decoupled import (
    FREE_RANGE,
    HORIZON_TRUST,
    LARGEST_LOG_MOVE,
    LARGEST_SHARE_OF_BETA,
    NEWTON_GAIN,
    PRIOR_AUTHORITY,
    QUIET_RANGE,
    Aim,
    Authority,
    Decoupling,
    decoupled,
)
from maxent_ray.core.objectives.kl_filter import KlFilter
from maxent_ray.core.state import ControllerState, Reason
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import PI
from maxent_ray.core.weighting import group_weights, weight_entropy
from maxent_ray.core.weightings import MaxEntWeighting
from maxent_ray.errors import ConfigError, InvalidReportError

TARGET_ENTROPY, TARGET_KL, SHARE = 1.9, 0.05, 0.1
USUAL = Sensitivity(
    entropy=TARGET_ENTROPY,
    kl=TARGET_KL,
    entropy_tau=0.3,
    entropy_beta=0.05,
    kl_tau=0.0,
    kl_beta=-0.002,
    steps=2,
    tokens=100,
    tau=0.6,
    beta=0.1,
    version=0,
    share=SHARE,
)
AIM = Aim(TARGET_ENTROPY, TARGET_KL, TARGET_KL, 0.16, beta_bounds=(1e-4, 100.0))


def config(**changes: Any) -> ControllerConfig:
    settings: dict[str, Any] = {
        "group_size": 8,
        "objective": TruncatedBackprop(unroll=Unroll(steps=2), form=Decoupled()),
        "target_entropy": TARGET_ENTROPY,
        "target_kl": TARGET_KL,
        "tau": 0.6,
        "beta": 0.1,
        "set_point_horizon": 0,
    }
    return ControllerConfig(**{**settings, **changes})


def measured(entropy: float = TARGET_ENTROPY, kl: float = TARGET_KL) -> BatchStatistics:
    return BatchStatistics(groups=1, weight_entropy_sum=entropy, tokens=1, policy_kl_sum=kl)


def sent(sensitivity: Sensitivity) -> ControllerGradients:
    return ControllerGradients(source="truncated_backprop", sensitivity=sensitivity)


def moves(memory: Decoupling, sensitivity: Sensitivity, *, pending: int = 0, **changes: Any) -> tuple[float, float]:
    """Δ ln τ and Δ ln β from the measured coefficients."""
    aim = AIM._replace(**changes)
    latest = (sensitivity.tau, sensitivity.beta)
    gradients = decoupled(memory, sensitivity, sensitivity.entropy, latest, pending, aim)
    return -(gradients.tau_grad or 0.0), gradients.beta_grad or 0.0


# --- the KL loop ---


def knowing(level: float, velocity: float, push: float) -> Decoupling:
    """A memory that knows the plant exactly, and many measurements old."""
    authority = Authority(log_pull=math.log(0.1), log_beta=math.log(0.1), updates=50)
    return Decoupling(authority, KlFilter(level, velocity, push, measurements=50), step=50)


@pytest.mark.parametrize("bandwidth", [0.1, 0.16])
def test_on_its_own_model_kl_goes_to_its_target_with_a_double_pole(bandwidth: float) -> None:
    """e_n = (e_0 + n·c)·p^n with p = e^(−ω): two poles in one place, c from the first step."""
    memory, beta = knowing(1.1 * TARGET_KL, 0.0, 0.0), 0.1
    pull = memory.authority.pull(math.log(beta))
    push = pull.at(math.log(beta)) * 1.1 * TARGET_KL  # at rest at 1.1 KL*
    level, velocity, errors = 1.1 * TARGET_KL, 0.0, []
    for _ in range(40):
        errors.append(level - TARGET_KL)
        move = moves(
            replace(memory, kl=replace(memory.kl, level=level, velocity=velocity, push=push)),
            replace(USUAL, beta=beta),
            target_entropy=None,  # alone: with H*, β leaves room for τ
            bandwidth=bandwidth,
        )[1]
        assert abs(move) < LARGEST_LOG_MOVE
        beta *= math.exp(move)
        velocity = (1 - SHARE) * velocity + SHARE * (push - pull.at(math.log(beta)) * level)
        level += velocity
    pole = math.exp(-bandwidth)
    slope = errors[1] / pole - errors[0]
    expected = [(errors[0] + n * slope) * pole**n for n in range(40)]
    assert errors == pytest.approx(expected, abs=1e-12)
    assert min(errors) > -1e-6  # no overshoot


def test_decisions_on_their_way_are_looked_ahead_over() -> None:
    """With one decision pending, β answers to where KL will be then, not to where it was."""
    pull = knowing(0, 0, 0).authority.pull(math.log(0.1))
    memory = knowing(TARGET_KL, 0.01 * TARGET_KL, pull.at(math.log(0.1)) * TARGET_KL)
    now, ahead = (moves(memory, USUAL, pending=pending)[1] for pending in (0, 1))
    advanced = memory.kl.predict(SHARE, pull, math.log(0.1))
    assert ahead == pytest.approx(moves(replace(memory, kl=advanced), USUAL)[1], rel=1e-12)
    assert max(abs(now), abs(ahead)) < LARGEST_LOG_MOVE
    assert ahead != pytest.approx(now, rel=0.01)


def test_too_much_kl_raises_beta_and_too_little_lowers_it() -> None:
    push = knowing(0, 0, 0).authority.pull(math.log(0.1)).at(math.log(0.1)) * TARGET_KL
    assert moves(knowing(1.5 * TARGET_KL, 0.0, push), USUAL)[1] > 0
    assert moves(knowing(0.7 * TARGET_KL, 0.0, push), USUAL)[1] < 0
    assert moves(knowing(TARGET_KL, 0.0, push), USUAL)[1] == pytest.approx(0.0, abs=1e-9)


def test_beta_waits_for_the_optimisers_momentum() -> None:
    first = replace(USUAL, share=0.5)
    early = Decoupling(kl=KlFilter(level=0.2, measurements=2), step=1)
    assert moves(early, first)[1] == 0.0
    late = Decoupling(kl=KlFilter(level=0.2, measurements=9), step=8)
    assert moves(late, replace(USUAL, share=1.0))[1] != 0.0  # without momentum there is nothing to wait for


def test_moves_stay_inside_the_trust_region() -> None:
    far = knowing(20 * TARGET_KL, 0.0, 5 * TARGET_KL)
    assert moves(far, USUAL)[1] == pytest.approx(LARGEST_LOG_MOVE)
    plateau = replace(USUAL, entropy=2.07, entropy_tau=0.02, entropy_beta=0.0)
    assert moves(far, plateau)[0] == pytest.approx(-LARGEST_LOG_MOVE)


def test_beta_leaves_tau_its_hold_on_the_entropy() -> None:
    """However much KL there is: β takes at most its share of the κ = τ + β that H* asks for."""
    far = knowing(20 * TARGET_KL, 0.0, 5 * TARGET_KL)
    at = replace(USUAL, tau=0.3, beta=0.4)
    kappa = 0.7  # H is on target with it
    assert 0.4 * math.exp(moves(far, at)[1]) == pytest.approx(LARGEST_SHARE_OF_BETA * kappa)
    alone = moves(far, at, target_entropy=None)[1]
    assert alone == pytest.approx(LARGEST_LOG_MOVE)


def test_a_beta_outside_the_weights_takes_nothing_from_tau() -> None:
    """w ∝ q^(1/τ): no share of κ limits β, and τ makes no room for it."""
    far = knowing(20 * TARGET_KL, 0.0, 5 * TARGET_KL)
    at = replace(USUAL, tau=0.3, beta=0.4, entropy_beta=0.0)
    apart = AIM._replace(reference_in_weights=False)
    signals = decoupled(far, at, TARGET_ENTROPY, (0.3, 0.4), 0, apart)
    assert signals.beta_grad == pytest.approx(LARGEST_LOG_MOVE)
    assert signals.tau_grad == 0.0  # H is on target
    assert decoupled(far, at, TARGET_ENTROPY, (0.3, 0.4), 0, AIM).beta_grad < LARGEST_LOG_MOVE


@pytest.mark.parametrize(("reference", "limits"), [("weights_and_loss", True), ("loss", False)])
def test_the_form_knows_where_the_reference_is(reference: str, limits: bool) -> None:
    settings = config(weighting=MaxEntWeighting(reference=reference))  # type: ignore[arg-type]
    assert settings.objective.build(settings.loops).reference_in_weights == limits


@pytest.mark.parametrize(("deviations", "reach"), [(0.2, QUIET_RANGE), (2.5, 2.5), (9.0, FREE_RANGE)])
def test_beta_goes_as_far_as_kl_stands_out_of_its_uncertainty(deviations: float, reach: float) -> None:
    """β is already as far below its usual place as it may be; it comes back to that distance, or stays."""
    uncertainty = 0.1 * TARGET_KL
    memory = knowing(TARGET_KL - deviations * uncertainty, 0.0, 0.0)
    memory = replace(memory, kl=replace(memory.kl, level_level=uncertainty**2))
    usual = memory.authority.log_beta
    at = replace(USUAL, beta=math.exp(usual - reach + 0.3))
    assert moves(memory, at, target_entropy=None)[1] == pytest.approx(-0.3)  # no push at all: β would go to 0


# --- the authority ---


def test_an_authority_is_pulled_towards_the_prior_by_what_the_horizon_is_worth() -> None:
    kl = TARGET_KL
    said = abs(USUAL.kl_beta) * USUAL.beta / (kl * USUAL.steps * USUAL.share)
    pull = Authority().track(USUAL, kl, TARGET_KL).pull(0.0)
    assert pull.log_beta == pytest.approx(math.log(USUAL.beta))
    expected = PRIOR_AUTHORITY ** (1 - HORIZON_TRUST) * said**HORIZON_TRUST
    assert pull.authority == pytest.approx(expected)
    assert Authority().pull(-1.5) == (PRIOR_AUTHORITY, -1.5)


def test_an_unroll_that_left_the_policys_neighbourhood_says_nothing() -> None:
    """Adam's first steps: KL after two inner steps was 180 times the target."""
    known = Authority().track(USUAL, TARGET_KL, TARGET_KL)
    assert known.track(replace(USUAL, kl=9.0, kl_beta=-400.0), TARGET_KL, TARGET_KL) == known
    assert known.track(replace(USUAL, kl_beta=0.0), TARGET_KL, TARGET_KL) == known
    assert known.track(replace(USUAL, kl=1e-5), 1e-5, TARGET_KL) == known


def test_one_wild_sample_moves_the_authority_no_more_than_an_outlier_may() -> None:
    known = Authority()
    for _ in range(10):
        known = known.track(USUAL, TARGET_KL, TARGET_KL)
    wild = known.track(replace(USUAL, kl_beta=-2e3 * abs(USUAL.kl_beta)), TARGET_KL, TARGET_KL)
    assert wild.log_pull - known.log_pull == pytest.approx(0.2)  # 2 nats, taken in with weight 1 − .9


# --- the entropy loop ---


def real_weights(tau: float, beta: float) -> tuple[float, float, float]:
    """H of fixed groups, dH/dτ and dH/dβ by autograd."""
    generator = torch.Generator().manual_seed(3)
    log_q = torch.randn(24, 8, generator=generator, dtype=torch.float64).log_softmax(-1)
    rho = 0.5 * torch.randn(24, 8, generator=generator, dtype=torch.float64)
    at = torch.tensor([tau, beta], dtype=torch.float64, requires_grad=True)
    entropy = weight_entropy(group_weights(log_q, rho, *at.unbind())).mean()
    (slopes,) = torch.autograd.grad(entropy, at)
    return entropy.item(), *slopes.tolist()


@pytest.mark.parametrize("start", [0.06, 0.2, 6.0])
def test_newton_brings_the_weights_entropy_to_target_in_a_few_decisions(start: float) -> None:
    target, tau = real_weights(0.6, 0.1)[0], start
    for _ in range(8):
        entropy, by_tau, by_beta = real_weights(tau, 0.1)
        at = replace(USUAL, tau=tau, entropy=entropy, entropy_tau=by_tau, entropy_beta=by_beta)
        tau *= math.exp(moves(Decoupling(), at, target_entropy=target, kl_set_point=0.0)[0])
    assert real_weights(tau, 0.1)[0] == pytest.approx(target, rel=2e-3)
    assert tau == pytest.approx(0.6, rel=0.02)


def test_tau_takes_up_what_a_move_of_beta_would_do_to_the_entropy() -> None:
    """H on target, β about to move: with the feed-forward H stays, without it H leaves several times as far."""
    tau, beta = 0.6, 0.3
    target, by_tau, by_beta = real_weights(tau, beta)
    at = replace(USUAL, tau=tau, beta=beta, entropy=target, entropy_tau=by_tau, entropy_beta=by_beta)
    d_tau, d_beta = moves(knowing(1.2 * TARGET_KL, 0.0, 0.5 * TARGET_KL), at, target_entropy=target)
    assert abs(d_beta) > 0.1
    moved = beta * math.exp(d_beta)
    together = abs(real_weights(tau * math.exp(d_tau), moved)[0] - target)
    alone = abs(real_weights(tau, moved)[0] - target)
    assert together < 0.25 * alone


def test_a_damped_step_on_a_slope_is_the_newton_gain_of_it() -> None:
    error = 0.02
    at = replace(USUAL, entropy=TARGET_ENTROPY + error)
    d_tau = moves(Decoupling(), at, kl_set_point=0.0)[0]
    assert d_tau == pytest.approx(-NEWTON_GAIN * error / (USUAL.entropy_tau * USUAL.tau), rel=2e-3)


# --- in the controller ---


def test_the_controller_takes_its_moves_as_they_are_and_remembers() -> None:
    rules = Controller(config())
    state, decision = rules.step(rules.init(), measured(entropy=1.95), sent(replace(USUAL, entropy=1.95)))
    assert (decision.reason, decision.source) == (Reason.UPDATED, "truncated_backprop")
    assert decision.tau_grad == pytest.approx(-math.log(state.tau / 0.6))
    assert decision.beta_grad == pytest.approx(math.log(state.beta / 0.1))
    assert state.objective["decoupled"]["kl"]["measurements"] == 1
    assert state.objective["decoupled"]["authority"]["updates"] == 1
    assert ControllerState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


def test_a_target_that_beta_cannot_reach_is_reported() -> None:
    rules = Controller(config(beta_max=0.2, target_entropy=None, saturation_patience=5))
    observer, memory = Observer(rules.config), ObserverState()
    state, found = rules.init(), []
    for _ in range(20):
        at = replace(USUAL, beta=state.beta, version=state.version, kl=10 * TARGET_KL)
        state, decision = rules.step(state, measured(kl=10 * TARGET_KL), sent(at))
        memory, alarms = observer.observe(memory, decision)
        found += [(alarm.kind, alarm.coefficient) for alarm in alarms]
    assert state.beta == 0.2
    assert "beta.projected_high" in decision.events
    assert found == [(AlarmKind.SATURATED, "beta")]


def test_taking_over_a_run_in_its_middle_disturbs_nothing_that_is_on_target() -> None:
    """A clone of an analytic run, with KL and H on target in every batch: β has no reason to go anywhere."""
    analytic = Controller(config(objective=Analytic()))
    state = analytic.init()
    for _ in range(40):
        state, _ = analytic.step(state, measured())
    rules = Controller(config())
    state, path = rules.adopt(state), []
    for _ in range(30):
        at = replace(USUAL, tau=state.tau, beta=state.beta, version=state.version)
        state, _ = rules.step(state, measured(), sent(at))
        path.append(state.beta / 0.1)
    assert max(path) < 1.6
    assert min(path) > 1 / 1.6


@pytest.mark.parametrize(
    "changes",
    [
        {"kl_beta": -1e300},
        {"kl_beta": -1e30},
        {"entropy_tau": 1e200},
        {"kl": 1e200},
        {"share": 1e-12, "kl_beta": 1e-30},
        {"beta": 1e10, "kl_beta": -1e90},
    ],
)
def test_numbers_beyond_all_reason_neither_crash_nor_leave_the_bounds(changes: dict[str, Any]) -> None:
    rules = Controller(config())
    state = rules.init()
    for _ in range(5):
        state, _ = rules.step(state, measured(), sent(replace(USUAL, version=state.version, **changes)))
        state, _ = rules.step(state, measured(kl=changes.get("kl", TARGET_KL)), sent(replace(USUAL, **changes)))
        state, _ = rules.step(state, measured(), sent(replace(USUAL, version=state.version)))
    assert 1e-3 <= state.tau <= 100.0
    assert 1e-4 <= state.beta <= 100.0
    assert ControllerState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


def test_one_coefficient_alone() -> None:
    only_entropy = Controller(config(target_kl=0.0, beta=0.0))
    state, decision = only_entropy.step(
        only_entropy.init(), measured(entropy=2.0), sent(replace(USUAL, beta=0.0, entropy=2.0))
    )
    assert state.beta == 0.0
    assert state.tau < 0.6
    assert decision.beta_grad is None
    only_kl = Controller(config(target_entropy=None))
    state = only_kl.init()
    for step in range(8):
        state, _ = only_kl.step(state, measured(kl=0.2), sent(replace(USUAL, beta=state.beta, version=step, kl=0.2)))
    assert state.tau == 0.6
    assert state.beta > 0.1


def test_steps_between_two_updates_pass_in_the_filter_too() -> None:
    rules = Controller(config(update_interval=3))
    state = rules.init()
    for step in range(6):
        gradients = sent(replace(USUAL, version=state.version)) if rules.config.is_update_step(step) else None
        state, _ = rules.step(state, measured(kl=0.06), gradients)
    assert state.objective["decoupled"]["step"] == 5
    assert state.objective["decoupled"]["kl"]["measurements"] == 2


def test_a_sensitivity_that_is_not_finite_changes_nothing() -> None:
    rules = Controller(config())
    state, _ = rules.step(rules.init(), measured(), sent(USUAL))
    after, decision = rules.step(state, measured(), sent(replace(USUAL, kl_beta=math.nan)))
    assert decision.reason is Reason.NON_FINITE
    assert (after.tau, after.beta, after.objective) == (state.tau, state.beta, state.objective)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"entropy_signal": "policy_entropy"}, "entropy_signal is 'policy_entropy'; it must be 'weight_entropy'"),
        ({"kl_signal": "weight_kl"}, "kl_signal is 'weight_kl'; it must be 'policy_kl' when objective.form.type is"),
        ({"tau_rule": PI(space="linear")}, r"tau_rule is PI\(.*\); it must be null, as the form steps by itself"),
        ({"beta_rule": PI(learning_rate=0.3)}, r"beta_rule is PI\(.*\); it must be null, as the form steps by itself"),
        ({"beta_min": 0.0}, "beta_rule.space is log; it must be linear while beta_min = 0"),
    ],
)
def test_what_the_form_cannot_work_with_is_an_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes)
    if "beta_min" not in changes:  # the other forms do
        config(**changes, objective=TruncatedBackprop(form=Paired()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fallback": "analytic"}, "objective.fallback is 'analytic'; it must be null when objective.form.type is"),
        ({"form": Decoupled(kl_bandwidth=0.0)}, r"objective.form.kl_bandwidth is 0.0; it must be in \(0, 1\)"),
    ],
)
def test_settings_of_its_own_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(objective=TruncatedBackprop(**{"form": Decoupled(), **settings}))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("step", 0.5, "step is 0.5; it must be a whole number >= -1"),
        ("step", math.nan, "step is nan; it must be a whole number >= -1"),
        ("authority/updates", -1, "authority.updates is -1; it must be a whole number >= 0"),
        ("kl/level_level", -1e-9, "kl.level_level is -1e-09; it must be a finite number >= 0"),
        ("kl/measurements", -1, "kl.measurements is -1; it must be a whole number >= 0"),
        ("kl/noise", 0.0, "kl.noise is 0.0; it must be a finite number >= 0.01"),
        ("kl/push", math.nan, "kl.push is nan; it must be a finite number"),
        ("authority/epoch", 1, "authority is a dict; .* keys .*\\(unknown: 'epoch'\\)"),
    ],
)
def test_a_memory_out_of_range_is_named_when_it_is_adopted(path: str, value: object, message: str) -> None:
    rules = Controller(config())
    state, _ = rules.step(rules.init(), measured(), sent(USUAL))
    memory = copy.deepcopy(dict(state.objective["decoupled"]))
    *parents, last = path.split("/")
    inner = memory
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    with pytest.raises(InvalidReportError, match=rf"^state\.objective\.decoupled\.{message}"):
        rules.adopt(replace(state, objective={"decoupled": memory}))


# --- a noisy plant ---


class Plant:
    """KL with momentum, a pull ∝ β^.2 and a wandering push; what the unroll says of β is off by half a decade.

    The figures are those fitted to Countdown runs; the fit is what the form's constants come from, so this tests that
    the loop works as designed under noise and lag, not that Countdown is like this.
    """

    def __init__(self, seed: int, beta: float, rules: Controller) -> None:
        self.random, self.rules = random.Random(seed), rules
        self.level, self.velocity, self.wander = 0.0, 0.0, 0.0
        self.push = 0.21 * TARGET_KL * math.exp(0.15 * self.random.gauss(0, 1))
        self.state = rules.init()
        self.waiting = [self.state, self.state]  # lag 1

    def step(self, number: int) -> float:
        """One policy step and one decision; the true KL relative to its target."""
        trained = self.waiting.pop(0)
        share, pull = 0.1 / (1 - 0.9 ** (number + 1)), 0.26 * trained.beta**0.2
        kl = max(self.level, 1e-6) * math.exp(0.19 * self.random.gauss(0, 1))
        said = -0.9 * trained.beta**0.8 * kl * math.exp(0.8 * self.random.gauss(0, 1)) / trained.beta * share
        at = {"tau": trained.tau, "beta": trained.beta, "version": trained.version}
        sensitivity = replace(USUAL, kl=kl, kl_beta=said, steps=2, share=share, **at)
        gradients = sent(sensitivity) if self.rules.config.unroll is not None else None
        self.state, _ = self.rules.step(self.state, measured(kl=kl), gradients)
        self.waiting.append(self.state)
        self.wander = 0.97 * self.wander + 0.0115 * TARGET_KL * self.random.gauss(0, 1)
        drive = self.push + self.wander - pull * self.level
        self.velocity = (1 - share) * self.velocity + share * drive
        self.level = max(self.level + self.velocity, 0.0)
        return self.level / TARGET_KL


def settled(path: list[float], band: float = 0.15, hold: int = 10) -> int:
    within = [abs(value - 1) <= band for value in path]
    return next((i for i in range(len(path)) if all(within[i : i + hold])), len(path))


@pytest.mark.parametrize("start", [0.013, 1.3])
def test_on_a_noisy_plant_it_settles_in_less_than_two_thirds_of_the_analytic_rules_steps(start: float) -> None:
    """Over 40 runs the ratio is .53 from below and .38 from above; the bar leaves room for luck."""

    def steps(make: Callable[[], Controller]) -> float:
        found = []
        for seed in range(30):
            plant = Plant(seed, start, make())
            found.append(settled([plant.step(number) for number in range(80)]))
        return median(found)

    ours = steps(lambda: Controller(config(beta=start)))
    analytic = steps(lambda: Controller(config(beta=start, objective=Analytic())))
    assert ours < analytic * 2 / 3
