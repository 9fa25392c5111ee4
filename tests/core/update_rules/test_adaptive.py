"""Self-tuning PI: what it identifies, the gains that follow, and what must not unsettle it."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.state import ControllerState, Decision
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import PI, SGD, Adam, Newton, RuleSettings, Signal, Tuning, adaptive_pi
from maxent_ray.core.update_rules.adaptive import PROPORTIONAL_LIMIT, blend, describe, synthesize
from maxent_ray.core.update_rules.identification import LAGS, PRIORS, Hypothesis, Lag, observe, responses, start
from maxent_ray.core.update_rules.loop import Gains, Loop
from maxent_ray.core.update_rules.settings import build_rule
from maxent_ray.errors import ConfigError, InvalidReportError

Answer = Callable[[list[float]], float]
"""From all logarithms of the coefficient so far to the error, without noise."""


def identified(answer: Answer, updates: int = 200, noise: float = 0.05, move: float = 0.3, seed: int = 0) -> Tuning:
    """Posterior means after an open-loop experiment with white moves of the coefficient."""
    draw, memory, logs = random.Random(seed), start(), []
    for _ in range(updates):
        logs.append(draw.gauss(0, move))
        memory = observe(memory, logs[-1], answer(logs) + draw.gauss(0, noise))
    found = responses(memory, PRIORS["fast"])
    return describe(blend(found), found)


def lagged(steps: float) -> Answer:
    """First-order lag with elasticity .6."""
    return lambda logs: 0.6 * sum((1 - 1 / steps) ** age / steps * log for age, log in enumerate(reversed(logs)))


@pytest.mark.parametrize("elasticity", [0.3, 0.6, 1.0])
def test_finds_the_elasticity_of_a_signal_that_answers_at_once(elasticity: float) -> None:
    found = identified(lambda logs: elasticity * logs[-1])
    assert found.elasticity == pytest.approx(elasticity, abs=0.05)
    assert found.delay < 0.05


def test_finds_that_a_signal_answers_one_update_late() -> None:
    found = identified(lambda logs: 0.6 * logs[-2] if len(logs) > 1 else 0.0)
    assert found.delay == pytest.approx(1, abs=0.05)
    assert found.elasticity == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("steps", [6.0, 30.0])
def test_finds_the_lag_of_a_slow_signal(steps: float) -> None:
    """Its authority, elasticity over lag, is what moves it in the next updates."""
    found = identified(lagged(steps), noise=0.01, move=1.0)
    assert found.delay == pytest.approx(steps - 1, rel=0.2)
    assert found.elasticity / (found.delay + 1) == pytest.approx(0.6 / steps, rel=0.3)


def test_without_moves_the_elasticity_stays_at_its_prior() -> None:
    """Closed covariance: its standard deviation does not grow beyond the prior's .25 either."""
    found = identified(lambda logs: 0.0, updates=2000, noise=0.2, move=0.0)
    assert found.elasticity == pytest.approx(0.5)
    assert found.elasticity_error == pytest.approx(0.25)


def test_an_old_response_is_forgotten() -> None:
    found = identified(lambda logs: (0.3 if len(logs) < 300 else 1.0) * logs[-1], updates=600)
    assert found.elasticity == pytest.approx(1.0, abs=0.05)


def test_one_outlier_does_not_move_the_estimate() -> None:
    found = identified(lambda logs: 0.6 * logs[-1] + 3.0 * (len(logs) % 25 == 0))
    assert found.elasticity == pytest.approx(0.6, abs=0.2)


@pytest.mark.parametrize("elasticity", [-2.0, -0.1, 0.0, 1e-9, 1e6])
@pytest.mark.parametrize("lag", LAGS.values(), ids=LAGS)
def test_gains_are_bounded_and_positive_whatever_was_found(lag: Lag, elasticity: float) -> None:
    gains = synthesize(Hypothesis(lag, 0.6, elasticity, variance=0.1, noise=1e-6, weight=1.0))
    assert 0 < gains.integral <= 3
    assert 0 <= gains.proportional <= PROPORTIONAL_LIMIT


def test_gains_cancel_the_lag_in_the_closed_loop() -> None:
    """With exact knowledge and without noise, a step of the disturbance decays with the pole 1 − rate."""
    gains = synthesize(Hypothesis(Lag(6.0), 0.05, 0.6, variance=0.0, noise=0.1, weight=1.0))
    level, log, before, errors = 0.0, 0.0, 0.0, []
    for _ in range(40):
        level += (0.6 * log - level) / 6
        errors.append(1.0 + level)
        log -= gains.integral * errors[-1] + gains.proportional * (errors[-1] - before)
        before = errors[-1]
    decays = [later / earlier for earlier, later in itertools.pairwise(errors)]
    assert decays[5:] == pytest.approx([0.95] * 34)


def test_a_wrong_sign_keeps_the_gains_of_the_prior() -> None:
    wrong = synthesize(Hypothesis(Lag(1.0), 0.2, -0.5, variance=0.0625, noise=0.2, weight=1.0))
    prior = synthesize(Hypothesis(Lag(1.0), 0.2, 0.5, variance=0.0625, noise=0.2, weight=1.0))
    assert wrong == prior


LOOP = Loop("beta", "policy_kl", 1e-4, 100.0, "auto", expected="fast")
CONFIG = ControllerConfig(target_kl=0.01, beta=0.2, kl_response="auto", kl_reference="behaviour_policy")


def run(kls: list[float], config: ControllerConfig = CONFIG) -> tuple[ControllerState, list[Decision]]:
    """The controller over a series of measured KLs."""
    controller = Controller(config)
    state, decisions = controller.init(), []
    for kl in kls:
        state, decision = controller.step(state, BatchStatistics(tokens=10, policy_kl_sum=10 * kl))
        decisions.append(decision)
    return state, decisions


def test_a_kl_of_zero_and_one_of_a_thousand_targets_are_survived() -> None:
    state, decisions = run([0.0] * 30 + [10.0] * 30 + [-1e-6, 0.01])
    assert all(decision.reason.value in ("updated", "clipped") for decision in decisions)
    assert decisions[29].beta < 0.2
    assert decisions[59].beta > 10 * decisions[29].beta
    assert math.isfinite(state.beta)


def test_a_state_from_json_continues_with_the_same_coefficients() -> None:
    draw = random.Random(0)
    kls = [0.01 * math.exp(draw.gauss(0, 0.4)) for _ in range(60)]
    whole, _ = run(kls)
    controller, (half, _) = Controller(CONFIG), run(kls[:30])
    state = controller.adopt(ControllerState.from_dict(json.loads(json.dumps(half.to_dict()))))
    for kl in kls[30:]:
        state, _ = controller.step(state, BatchStatistics(tokens=10, policy_kl_sum=10 * kl))
    assert state == whole


def test_decisions_say_which_gains_were_in_force() -> None:
    _, decisions = run([0.02] * 5)
    tuning = decisions[-1].beta_tuning
    assert tuning is not None
    assert 0 < tuning.integral < 1
    assert decisions[-1].tau_tuning is None
    assert Decision.from_dict(json.loads(json.dumps(decisions[-1].to_dict()))) == decisions[-1]
    _, fixed = run([0.02] * 5, replace(CONFIG, kl_response="fast"))
    assert fixed[-1].beta_tuning is None


def test_a_decision_written_before_gains_were_recorded_can_be_read() -> None:
    _, decisions = run([0.02])
    old = {name: value for name, value in decisions[0].to_dict().items() if not name.endswith("_tuning")}
    assert Decision.from_dict(old).beta_tuning is None


def test_a_negative_entropy_target_is_tracked() -> None:
    """Differential entropy of a continuous policy, which answers over ten updates with .8 nats per unit of ln τ."""
    controller = Controller(
        ControllerConfig(entropy_signal="policy_entropy", target_entropy=-1.0, entropy_response="auto", tau=0.01)
    )
    draw, state, entropy, late = random.Random(0), controller.init(), 0.5, []
    for _ in range(300):
        measured = entropy + draw.gauss(0, 0.05)
        state, _ = controller.step(state, BatchStatistics(tokens=1, policy_entropy_sum=measured))
        entropy += (0.5 + 0.8 * math.log(state.tau / 0.01) - entropy) / 10
        late.append(abs(entropy + 1.0))
    assert sum(late[150:]) / 150 < 0.05


def test_the_identification_stands_still_while_a_bound_holds_the_coefficient() -> None:
    config = replace(CONFIG, beta_max=0.3)
    at_bound, _ = run([0.05] * 30, config)
    longer, _ = run([0.05] * 500, config)
    assert at_bound.beta_rule == longer.beta_rule


@pytest.mark.parametrize("rule", [SGD(), Adam(), Newton()], ids=lambda rule: rule.type)
def test_only_pi_finds_its_gains_unless_they_are_set(rule: RuleSettings) -> None:
    with pytest.raises(ConfigError, match=r"beta_rule.learning_rate is None and kl_response is auto.*choose pi"):
        rule.check(LOOP)
    replace(rule, learning_rate=0.1).check(LOOP)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (PI(proportional_gain=1.0), "proportional_gain is 1.0; it must be null while kl_response is auto"),
        (PI(space="linear"), "space is linear; it must be log while kl_response is auto"),
    ],
    ids=["proportional_gain", "space"],
)
def test_settings_that_contradict_auto_are_refused(rule: PI, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rule.check(LOOP)


def test_a_learning_rate_keeps_the_gains_fixed() -> None:
    rule = PI(learning_rate=0.1)
    rule.check(LOOP)
    assert rule.gains(LOOP) == Gains(0.1, 0.0)
    assert build_rule(rule, LOOP).init(0.2) == build_rule(rule, LOOP._replace(response="fast")).init(0.2)


def test_an_unknown_expectation_and_a_coefficient_of_zero_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected is 'never'"):
        adaptive_pi("never")  # type: ignore[arg-type]
    rule = adaptive_pi("fast")
    with pytest.raises(InvalidReportError, match=r"value is 0.0, must be positive"):
        rule.update(Signal(gradient=0.1, value=0.0), rule.init(0.0))
