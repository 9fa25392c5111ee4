"""The controller's settings: what is rejected and how, annealing, update steps, what moves."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any, TypeAlias

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.objectives import Analytic, CustomObjective, Decoupled, Joint, Paired, TruncatedBackprop, Unroll
from maxent_ray.core.statistics import BatchStatistics, EntropySignal
from maxent_ray.core.update_rules import PI, SGD, Adam, Newton
from maxent_ray.core.update_rules.loop import Gains
from maxent_ray.core.weightings import ListwiseWeighting, MaxEntWeighting, UCPOWeighting
from maxent_ray.errors import ConfigError, UnknownObjectiveError

LOG_8 = math.log(8)


def config(**changes: Any) -> ControllerConfig:
    return ControllerConfig(**{"group_size": 8, "target_entropy": 1.9, "target_kl": 0.05, **changes})


def unrolled(**settings: Any) -> dict[str, Any]:
    return {"objective": TruncatedBackprop(**settings)}


def gains(settings: ControllerConfig, name: str) -> Gains:
    rule = settings.rule(name)
    assert isinstance(rule, PI)
    return rule.gains(settings.loop(name))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group_size": 1}, "group_size is 1; it must be >= 2"),
        ({"group_size": 0}, "group_size is 0; it must be >= 2"),
        ({"group_size": -3}, "group_size is -3; it must be >= 2"),
        ({"target_entropy": 0.0}, "target_entropy is 0.0; it must be > 0 nats"),
        ({"target_entropy": LOG_8}, r"target_entropy is 2.079\d*; it must be < log G = 2.0794 nats.*G = 8"),
        ({"target_entropy": 2.07944}, r"target_entropy is 2.07944; it must be < log G"),  # log 8, rounded
        ({"target_entropy": 2.0, "group_size": 4}, r"target_entropy is 2.0; it must be < log G = 1.3863 nats"),
        ({"target_entropy": math.nan}, "target_entropy is nan"),
        ({"target_entropy_final": 2.1, "target_entropy_horizon": 5}, "target_entropy_final is 2.1"),
        ({"target_entropy_final": 1.0}, "target_entropy_horizon is 0; it must be >= 1"),
        (
            {"target_entropy": None, "target_entropy_final": 1.0, "target_entropy_horizon": 5},
            "target_entropy is None; it must be set when target_entropy_final is",
        ),
        ({"target_entropy_fraction": 0.9}, "target_entropy is 1.9 and target_entropy_fraction is 0.9; give"),
        ({"target_entropy": None, "target_entropy_fraction": 1.0}, r"target_entropy_fraction is 1.0; .* in \(0, 1\)"),
        ({"target_kl": -0.1}, "target_kl is -0.1; it must be >= 0 nats"),
        ({"target_kl": math.nan}, "target_kl is nan"),
        ({"tau_min": 2.0, "tau_max": 1.0}, "tau_min is 2.0 and tau_max is 1.0: the bounds cross"),
        ({"beta_min": 2.0, "beta_max": 1.0}, "beta_min is 2.0 and beta_max is 1.0: the bounds cross"),
        ({"tau_min": 0.0}, "tau_min is 0.0; it must be > 0"),
        ({"tau_min": -1.0, "tau_rule": PI(space="linear")}, "tau_min is -1.0; it must be > 0"),
        ({"beta_min": 0.0}, "beta_rule.space is log; it must be linear while beta_min = 0"),
        ({"beta_min": -1.0, "beta_rule": PI(space="linear")}, "beta_min is -1.0; it must be >= 0"),
        ({"tau": 1e-4}, r"tau is 0.0001; it must be in \[0.001, 100.0\]"),
        ({"beta": 101.0}, r"beta is 101.0; it must be in \[0.0001, 100.0\]"),
        ({"beta": 0.0}, r"beta is 0.0; it must be in \[0.0001, 100.0\]"),
        ({"tau_max": math.inf}, "tau_max is inf; it must be finite"),
        ({"tau": math.nan}, "tau is nan; it must be finite"),
        ({"objective": None, "tau": -0.1}, "tau is -0.1; it must be >= 0"),
        ({"objective": None, "beta": -1.0}, "beta is -1.0"),
        ({"tau_rule": PI(learning_rate=0.0)}, "tau_rule.learning_rate is 0.0; it must be > 0"),
        ({"beta_rule": SGD(learning_rate=-0.1)}, "beta_rule.learning_rate is -0.1; it must be > 0"),
        ({"tau_rule": PI(clip=0.0)}, "tau_rule.clip is 0.0; it must be > 0, auto, or null for none"),
        ({"beta_rule": PI(clip=-1.0)}, "beta_rule.clip is -1.0; it must be > 0, auto, or null for none"),
        ({"update_interval": 0}, "update_interval is 0; it must be >= 1"),
        (unrolled(unroll=Unroll(steps=0)), "objective.unroll.steps is 0; it must be >= 1"),
        (unrolled(unroll=Unroll(groups=0)), "objective.unroll.groups is 0; it must be >= 1"),
        (unrolled(unroll=Unroll(mode="forward", checkpoint=True)), "objective.unroll.checkpoint is true and .*forward"),
        (unrolled(unroll=Unroll(mode="sideways")), "objective.unroll.mode is 'sideways'; valid: reverse, forward"),
        ({"saturation_patience": 0}, "saturation_patience is 0; it must be >= 1"),
        ({"warmup_steps": -1}, "warmup_steps is -1; it must be >= 0"),
        ({"tau_rule": PI(dead_band=-0.1)}, "tau_rule.dead_band is -0.1; it must be >= 0"),
        ({"beta_rule": PI(proportional_gain=-1.0)}, "beta_rule.proportional_gain is -1.0; it must be >= 0"),
        ({"beta_rule": PI(ema_decay=1.0)}, r"beta_rule.ema_decay is 1.0; it must be in \[0, 1\)"),
        (unrolled(form=Paired(sensitivity_decay=-0.1)), "objective.form.sensitivity_decay is -0.1"),
        (unrolled(form=Paired(least_confidence=1.5)), "objective.form.least_confidence is 1.5; it must be in"),
        ({"tau_rule": "rmsprop"}, r"tau_rule is 'rmsprop'; valid: PI\(\), SGD\(\), Adam\(\)"),
        ({"tau_rule": PI(space="cubic")}, "tau_rule.space is cubic; it must be log or linear"),
        (unrolled(fallback="uniform"), "objective.fallback is 'uniform'; valid: analytic, or null"),
        ({"entropy_signal": "entropy"}, "entropy_signal is 'entropy'; valid: weight_entropy, informative"),
        ({"kl_signal": "kl"}, "kl_signal is 'kl'; valid: policy_kl, weight_kl"),
        ({"kl_signal": None}, "target_kl is 0.05 and kl_signal is None: no KL is measured; set kl_signal to policy_kl"),
        (
            unrolled(form=Joint()) | {"kl_response": "auto"},
            "kl_response is auto and objective.form.type is joint: .* set beta_rule.learning_rate, or kl_response",
        ),
        (
            unrolled(form=Joint()) | {"entropy_response": "auto"},
            "entropy_response is auto and objective.form.type is joint: .* set tau_rule.learning_rate",
        ),
        ({"kl_reference": "ref"}, "kl_reference is 'ref'; valid: frozen_policy, behaviour_policy"),
        ({"kl_response": "quick"}, "kl_response is 'quick'; valid: fast, slow, auto"),
        ({"entropy_scale": 0.0}, "entropy_scale is 0.0; it must be > 0 nats"),
        ({"target_entropy": -0.5}, "target_entropy is -0.5; it must be > 0 nats per group; only a policy_entropy may"),
        (
            {"entropy_signal": "policy_entropy", "target_entropy": None, "target_entropy_fraction": 0.5},
            "target_entropy_fraction is 0.5; it is of log G, .* set target_entropy, in nats",
        ),
    ],
    ids=lambda value: ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_a_bad_value_is_named_with_what_would_be_valid(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        config(**changes)


def test_an_unknown_objective_names_the_valid_ones() -> None:
    with pytest.raises(UnknownObjectiveError, match="objective is 'newtonian'") as caught:
        config(objective="newtonian")
    assert all(name in str(caught.value) for name in ("Analytic()", "TruncatedBackprop()", "CustomObjective()", "None"))


@pytest.mark.parametrize(
    "changes",
    [
        {"target_entropy": LOG_8 - 1e-3},
        {"entropy_signal": "policy_entropy", "target_entropy": 3.0},  # per token: up to log V
        {"target_kl": 0.0, "beta": 0.0, "beta_min": 0.0},  # β is fixed
        {"beta_rule": PI(space="linear"), "beta_min": 0.0},
        {"objective": None, "tau": 1e4, "beta": 0.0},  # bounds are for what moves
        {"target_entropy": None, "tau": 1e4},
        {"target_entropy": None, "tau": 0.0},
        {"entropy_signal": "policy_entropy", "target_entropy": -3.0, "group_size": None},  # of a density
        {"entropy_signal": "policy_entropy", "target_entropy": 0.0, "group_size": None},
        {"entropy_signal": "policy_entropy", "tau": 1e-5},
        {"tau_min": 0.3, "tau_max": 0.3},
        {"tau_rule": PI(clip=None), "beta_rule": PI(clip=None)},
    ],
)
def test_the_edges_of_what_is_valid(changes: dict[str, Any]) -> None:
    config(**changes)


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        config().tau = 1.0  # type: ignore[misc]


def test_only_truncated_backprop_needs_an_unroll() -> None:
    assert config(objective=Analytic()).unroll is None
    assert config(objective=None).unroll is None
    assert config(**unrolled(unroll=Unroll(steps=3))).unroll == Unroll(steps=3)


def test_settings_survive_json() -> None:
    settings = config(**unrolled(unroll=Unroll(steps=3), form=Joint()), tau_rule=SGD(clip=None))
    assert ControllerConfig.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_the_target_entropy_is_annealed_linearly_and_then_stays() -> None:
    annealed = config(target_entropy=2.0, target_entropy_final=1.0, target_entropy_horizon=4)
    assert [annealed.target_entropy_at(step) for step in range(7)] == [2.0, 1.75, 1.5, 1.25, 1.0, 1.0, 1.0]
    rising = config(target_entropy=1.0, target_entropy_final=2.0, target_entropy_horizon=2)
    assert [rising.target_entropy_at(step) for step in (0, 1, 2, 100)] == [1.0, 1.5, 2.0, 2.0]
    assert config().target_entropy_at(1000) == 1.9
    assert config(target_entropy=None).target_entropy_at(3) is None


@pytest.mark.parametrize(
    ("warmup", "interval", "expected"),
    [
        (0, 1, [0, 1, 2, 3, 4, 5, 6, 7]),
        (0, 3, [2, 5]),
        (3, 1, [3, 4, 5, 6, 7]),
        (3, 2, [3, 5, 7]),
        (4, 3, [5]),
    ],
)
def test_update_steps_come_after_the_warm_up_at_the_end_of_each_interval(
    warmup: int, interval: int, expected: list[int]
) -> None:
    settings = config(warmup_steps=warmup, update_interval=interval)
    assert [step for step in range(8) if settings.is_update_step(step)] == expected


def test_what_moves() -> None:
    assert config().moves("tau")
    assert config().moves("beta")
    assert not config(target_entropy=None).moves("tau")
    assert not config(target_kl=0.0).moves("beta")
    fixed = config(objective=None)
    assert not fixed.moves("tau")
    assert not fixed.moves("beta")


def test_gains_are_those_set_else_those_of_the_signal() -> None:
    """What answers in the next batch takes an integrator alone; what answers over many steps needs more."""
    instant = config(entropy_signal="weight_entropy", kl_signal="weight_kl")
    assert gains(instant, "tau").proportional == gains(instant, "beta").proportional == 0
    slow = config(entropy_signal="policy_entropy", kl_signal="policy_kl")
    assert gains(slow, "tau") == gains(slow, "beta")
    assert gains(slow, "beta").proportional > gains(slow, "beta").integral > 0
    assert gains(instant, "tau").integral > gains(slow, "tau").integral
    partly = config(tau_rule=PI(learning_rate=0.7), beta_rule=PI(proportional_gain=0.0))
    assert gains(partly, "tau") == (0.7, gains(instant, "tau").proportional)
    assert gains(partly, "beta") == (gains(config(), "beta").integral, 0.0)


def test_gains_follow_the_declared_response() -> None:
    """A policy's KL to the policy that sampled the batch answers in the same update; to a frozen one, over many."""
    behaviour = config(kl_reference="behaviour_policy")
    assert gains(behaviour, "beta") == gains(config(kl_response="fast"), "beta") != gains(config(), "beta")
    assert gains(config(kl_reference="behaviour_policy", kl_response="slow"), "beta") == gains(config(), "beta")
    assert gains(config(entropy_response="slow"), "tau").proportional > 0


def test_the_error_is_smoothed_where_a_large_proportional_part_would_follow_the_noise() -> None:
    """By default in `pi` with the gains of a slow response, and nowhere else."""
    settings = config(entropy_signal="weight_entropy", kl_signal="policy_kl")
    tau, beta = settings.loop("tau"), settings.loop("beta")
    assert PI().smoothing(beta) > 0 == PI().smoothing(tau)
    assert PI().clip_of(beta) < PI().clip_of(beta._replace(response="fast")) == SGD().clip_of(beta)
    assert PI(clip=None).clip_of(beta) is None and PI(clip=2.0).clip_of(beta) == 2.0
    assert PI(ema_decay=0.0).smoothing(beta) == 0.0 != PI(ema_decay=0.3).smoothing(tau)
    assert PI().smoothing(beta._replace(response="auto")) == SGD().smoothing(beta) == Adam().smoothing(beta) == 0.0


def test_gains_that_are_set_go_with_any_form() -> None:
    joint = unrolled(form=Joint()) | {"entropy_response": "auto", "kl_response": "auto"}
    found = config(**joint, tau_rule=PI(learning_rate=0.02), beta_rule=PI(learning_rate=0.1, proportional_gain=0.0))
    assert (gains(found, "tau").integral, gains(found, "beta").integral) == (0.02, 0.1)
    config(**unrolled(form=Paired()), entropy_response="auto", kl_response="auto")
    config(**unrolled(form=Joint()), target_kl=0.0, kl_response="auto")  # which moves no β


def test_a_controller_may_have_no_kl_signal() -> None:
    """The loss of IMPALA has no KL."""
    found = config(kl_signal=None, target_kl=0.0)
    measured = BatchStatistics(groups=1, weight_entropy_sum=1.5, tokens=4, policy_kl_sum=0.2)
    assert (found.signal("beta"), found.measure("beta", measured), found.moves("beta")) == (None, None, False)
    assert ControllerConfig.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    _, decision = Controller(found).step(Controller(found).init(), measured)
    assert (decision.reason, decision.kl, decision.beta) == ("updated", None, 0.1)


def test_the_scale_of_errors_is_the_target_unless_that_may_be_negative() -> None:
    policy = {"entropy_signal": "policy_entropy"}
    assert config(target_entropy=1.5).entropy_scale_at(3) == 1.5
    assert config(target_entropy=1.5, entropy_scale=0.3).entropy_scale_at(3) == 0.3
    assert config(target_entropy=-2.0, **policy).entropy_scale_at(3) == 1.0
    crossing = config(target_entropy=0.5, target_entropy_final=-0.5, target_entropy_horizon=4, **policy)
    assert {crossing.entropy_scale_at(step) for step in range(6)} == {1.0}


def test_where_tau_starts_follows_the_signal() -> None:
    policy = config(entropy_signal="policy_entropy")
    assert (config().initial("tau"), *config().bounds("tau")) == (0.3, 1e-3, 100.0)
    assert (policy.initial("tau"), *policy.bounds("tau")) == (0.01, 1e-6, 100.0)
    assert replace(policy, entropy_signal="weight_entropy").initial("tau") == 0.3
    assert config(tau=0.7).initial("tau") == 0.7


@pytest.mark.parametrize("signal", ["informative_weight_entropy", "mode_entropy"])
def test_entropies_of_groups_share_tau_s_range_and_log_g(signal: EntropySignal) -> None:
    by_fraction = config(entropy_signal=signal, target_entropy=None, target_entropy_fraction=0.5)
    assert by_fraction.entropy_targets[0] == pytest.approx(LOG_8 / 2)
    assert (by_fraction.initial("tau"), *by_fraction.bounds("tau")) == (0.3, 1e-3, 100.0)
    assert by_fraction.entropy_scale_at(0) == pytest.approx(LOG_8 / 2)


def test_modes_answer_slowly_and_weights_at_once() -> None:
    informative, modes = (config(entropy_signal=name) for name in ("informative_weight_entropy", "mode_entropy"))
    assert (informative.response("tau"), modes.response("tau")) == ("fast", "slow")
    assert gains(informative, "tau") == gains(config(), "tau")
    assert gains(modes, "tau") == gains(config(entropy_signal="policy_entropy"), "tau")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_entropy": 2.08}, "target_entropy is 2.08; it must be < log G = 2.0794 nats, the entropy of G"),
        ({"target_entropy": -0.1}, "target_entropy is -0.1; it must be > 0 nats"),
        ({"tau_rule": Newton()}, "tau_rule.type is newton and entropy_signal is mode_entropy, .*; set tau_rule.type"),
        *(
            (unrolled(form=form), "objective is truncated_backprop and entropy_signal is mode_entropy, .*choose the")
            for form in (Paired(), Joint(), Decoupled())
        ),
        (
            {"objective": CustomObjective(import_path="a:b", unroll=Unroll())},
            "objective is b and entropy_signal is mode_entropy, .*, or set entropy_signal to weight_entropy or inform",
        ),
    ],
    ids=["above-log-g", "negative", "newton", "paired", "joint", "decoupled", "custom-unroll"],
)
def test_modes_have_no_derivative_and_no_more_than_log_g(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(entropy_signal="mode_entropy", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"weighting": UCPOWeighting(), "entropy_signal": "policy_entropy", "tau_rule": Newton()},
            "tau_rule.type is newton; its steps are by the slope of the weights, and .* 'ucpo' has no weights: set",
        ),
        ({"weighting": MaxEntWeighting(reference="loss"), "beta_rule": Newton()}, "has no reference in its weights"),
        ({"weighting": ListwiseWeighting(), "beta_rule": Newton()}, "beta_rule.type is newton.* 'listwise' has no ref"),
    ],
    ids=["no-weights", "loss", "listwise"],
)
def test_newton_needs_the_slope_of_weights(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(target_entropy=0.5, **changes)
    config(weighting=MaxEntWeighting(), tau_rule=Newton(), beta_rule=Newton())


@pytest.mark.parametrize("objective", [None, Analytic()], ids=["none", "analytic"])
def test_weight_kl_needs_a_reference_in_the_weights(objective: Analytic | None) -> None:
    """Where nothing is controlled there would be nothing to record either."""
    with pytest.raises(ConfigError, match=r"kl_signal is 'weight_kl', and .* is 'loss': no reference .* policy_kl"):
        config(weighting=MaxEntWeighting(reference="loss"), kl_signal="weight_kl", objective=objective)


def test_newton_may_move_beta_beside_modes() -> None:
    assert config(entropy_signal="mode_entropy", kl_signal="weight_kl", beta_rule=Newton()).moves("beta")


def test_decoupled_tracks_informative_groups_too() -> None:
    assert config(entropy_signal="informative_weight_entropy", **unrolled(form=Decoupled())).moves("tau")


def test_bounds_by_name() -> None:
    settings = replace(config(), tau_min=0.1, tau_max=1.0, beta_min=0.01, beta_max=2.0)
    assert settings.bounds("tau") == (0.1, 1.0)
    assert settings.bounds("beta") == (0.01, 2.0)
    assert settings.max_entropy == pytest.approx(LOG_8)


Point: TypeAlias = float


@dataclass(frozen=True)
class WithAPoint(ControllerConfig):
    margin: Point = 0.0


def test_a_field_is_whole_by_its_type_and_not_by_the_name_of_its_type() -> None:
    assert WithAPoint(target_kl=0.1, margin=0.5).margin == 0.5
    with pytest.raises(ConfigError, match="margin is '1'; it must be a number"):
        WithAPoint(target_kl=0.1, margin="1")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"update_interval is 1\.5; it must be a whole number"):
        WithAPoint(target_kl=0.1, update_interval=1.5)  # type: ignore[arg-type]
