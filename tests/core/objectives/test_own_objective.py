"""Objectives of a user's own: with a memory that travels in the state, and with mistakes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.objectives import (
    AnalyticControllerObjective,
    ControllerGradients,
    ControllerMetaContext,
    ControllerObjective,
    CustomObjective,
    Decoupled,
    Sensitivity,
    TruncatedBackprop,
    Unroll,
)
from maxent_ray.core.state import ControllerState, Reason
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import SGD
from maxent_ray.errors import ConfigError, InvalidReportError

CONFIG = ControllerConfig(
    group_size=8,
    target_entropy=1.5,
    target_kl=0.05,
    set_point_horizon=0,
    tau_rule=SGD(learning_rate=0.5, clip=None),
    beta_rule=SGD(learning_rate=0.5, clip=None),
)


def measured(entropy: float = 1.8, kl: float = 0.06) -> BatchStatistics:
    return BatchStatistics(groups=1, weight_entropy_sum=entropy, tokens=1, policy_kl_sum=kl)


class Averaged(ControllerObjective):
    """The mean relative error of all updates so far."""

    name = "averaged"

    def init(self) -> Mapping[str, Any]:
        return {"updates": 0, "sums": {"entropy": 0.0}}

    def update(
        self, meta_ctx: ControllerMetaContext, memory: Mapping[str, Any]
    ) -> tuple[ControllerGradients | None, Mapping[str, Any]]:
        entropy = meta_ctx.entropy_value()
        assert entropy is not None
        total = memory["sums"]["entropy"] + entropy / meta_ctx.weighting.tau_target_entropy - 1
        updates = memory["updates"] + 1
        return ControllerGradients(tau_grad=total / updates, source=self.name), {
            "updates": updates,
            "sums": {"entropy": total},
        }


def test_its_memory_is_in_the_state_under_its_name_and_survives_json() -> None:
    rules = Controller(CONFIG, objective=Averaged())
    assert rules.init().objective == {"averaged": {"updates": 0, "sums": {"entropy": 0.0}}}
    path, cut = [], None
    state = rules.init()
    for step, entropy in enumerate((1.8, 1.2, 1.65, 1.5)):
        if step == 2:
            cut = json.dumps(state.to_dict())
        state, decision = rules.step(state, measured(entropy))
        path.append(decision.tau_grad)
    assert path == pytest.approx([0.2, 0.0, 0.1 / 3, 0.1 / 4])
    assert cut is not None
    resumed = rules.adopt(ControllerState.from_dict(json.loads(cut)))
    for entropy in (1.65, 1.5):
        resumed, _ = rules.step(resumed, measured(entropy))
    assert resumed == state


def test_a_memory_of_another_shape_or_objective_starts_anew() -> None:
    rules = Controller(CONFIG, objective=Averaged())
    analytic = Controller(CONFIG)
    state, _ = rules.step(rules.init(), measured())
    assert analytic.adopt(state).objective == {"analytic": {}}
    assert rules.adopt(analytic.adopt(state)).objective == rules.init().objective
    other = ControllerState(tau=0.3, beta=0.1, objective={"averaged": {"updates": 3}})
    assert rules.adopt(other).objective == rules.init().objective


def test_a_state_of_another_objective_must_be_adopted_first() -> None:
    state = Controller(CONFIG).init()
    with pytest.raises(ConfigError, match=r"no memory of objective 'averaged'; take it over by Controller.adopt"):
        Controller(CONFIG, objective=Averaged()).step(state, measured())


def test_its_signals_move_what_the_config_moves_by_the_configs_rules() -> None:
    class Both(ControllerObjective):
        name = "both"

        def compute(self, meta_ctx: ControllerMetaContext) -> ControllerGradients:
            return ControllerGradients(tau_grad=0.2, beta_grad=-0.4, source=self.name)

    usual = Controller(CONFIG)
    by_hand = usual.step(usual.init(), measured(1.2 * 1.5, 0.6 * 0.05))[0]
    rules = Controller(CONFIG, objective=Both())
    state, decision = rules.step(rules.init(), measured())
    assert (state.tau, state.beta) == pytest.approx((by_hand.tau, by_hand.beta))
    assert (decision.source, decision.events) == ("both", ())


def test_it_sees_the_coefficients_in_force_and_the_unroll() -> None:
    seen: list[ControllerMetaContext] = []

    class Watching(ControllerObjective):
        name = "watching"

        def compute(self, meta_ctx: ControllerMetaContext) -> ControllerGradients | None:
            seen.append(meta_ctx)
            assert meta_ctx.backprop_fn is not None
            return meta_ctx.backprop_fn(2)

    rules = Controller(CONFIG, objective=Watching())
    sent = ControllerGradients(tau_grad=0.1, source="mine")
    state, decision = rules.step(rules.init(), measured(1.7, 0.04), sent)
    assert decision.tau_grad == 0.1
    _, decision = rules.step(state, measured(1.7, 0.04))
    assert decision.reason is Reason.NO_GRADIENT
    first, second = seen
    assert first.coefficients is not None and second.coefficients is not None
    assert (first.coefficients.tau, first.coefficients.version) == (0.3, 0)
    assert (second.coefficients.tau, second.coefficients.version) == (state.tau, 1)
    assert (first.entropy_value(), first.kl_metric(), first.global_step) == (1.7, 0.04, 0)


def returning(value: Any, memory: Any = None) -> ControllerObjective:
    class Returning(ControllerObjective):
        name = "returning"

        def update(self, meta_ctx: ControllerMetaContext, before: Mapping[str, Any]) -> Any:
            return value, before if memory is None else memory

    return Returning()


def test_a_number_that_is_not_finite_changes_nothing_and_says_so() -> None:
    for objective, place in (
        (returning(ControllerGradients(tau_grad=float("nan"))), "signals.tau_grad"),
        (returning(ControllerGradients(tau_grad=0.1), {"mean": float("inf")}), "objective.returning.mean"),
        (returning(ControllerGradients(tau_grad=0.1), {"mean": {"deep": 1e101}}), "objective.returning.mean.deep"),
    ):
        rules = Controller(CONFIG, objective=objective)
        state, decision = rules.step(rules.init(), measured())
        assert (decision.reason, decision.events) == (Reason.NON_FINITE, (f"overflow.{place}",))
        assert (state.tau, state.beta, state.objective) == (0.3, 0.1, {"returning": {}})


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (returning({"tau_grad": 0.1}), "'returning' returned dict for its gradients; it must return ControllerGra"),
        (returning(ControllerGradients(tau_grad="much")), "tau_grad is 'much'; it must be a finite number"),  # type: ignore[arg-type]
        (returning(None, {"text": "x"}), "objective.returning.text is 'x'; it must be a finite number"),
        (returning(None, [1.0]), "objective.returning is a list; it must be a finite number"),
    ],
)
def test_a_mistake_in_its_code_is_an_error_that_names_it(objective: ControllerObjective, message: str) -> None:
    rules = Controller(CONFIG, objective=objective)
    with pytest.raises(InvalidReportError, match=message):
        rules.step(rules.init(), measured())


def test_settings_of_its_own() -> None:
    mine = CustomObjective(import_path="maxent_ray.core.objectives:AnalyticControllerObjective", unroll=Unroll(steps=2))
    config = ControllerConfig(group_size=8, target_entropy=1.5, objective=mine)
    assert (mine.label, config.unroll) == ("AnalyticControllerObjective", Unroll(steps=2))
    ours, usual = Controller(config), Controller(config, objective=AnalyticControllerObjective())
    assert ours.step(ours.init(), measured()) == usual.step(usual.init(), measured())
    with pytest.raises(ConfigError, match=r"objective.unroll.steps is 0"):
        ControllerConfig(objective=CustomObjective(import_path="a:b", unroll=Unroll(steps=0)))


def test_a_fraction_of_log_g_needs_g() -> None:
    with pytest.raises(ConfigError, match=r"target_entropy_fraction is 0.9, of log G; group_size, which is G, must be"):
        Controller(ControllerConfig(target_entropy_fraction=0.9))


class Alone(ControllerObjective):
    """Forgets to return its memory."""

    name = "alone"

    def update(self, meta_ctx: ControllerMetaContext, memory: Mapping[str, Any]) -> Any:
        return ControllerGradients(tau_grad=0.1)


def test_an_update_without_its_memory_is_named() -> None:
    rules = Controller(CONFIG, objective=Alone())
    with pytest.raises(InvalidReportError, match=r"'alone' returned ControllerGradients; it must return .* memory"):
        rules.step(rules.init(), measured())


@pytest.mark.parametrize(
    ("config", "objective", "message"),
    [
        (CONFIG, Averaged, "it must be an instance of a ControllerObjective"),
        (CONFIG, "averaged", "it must be an instance of a ControllerObjective"),
        (replace(CONFIG, objective=None), Averaged(), r"config.objective is None, .*leave it at Analytic\(\)"),
        (
            replace(CONFIG, objective=TruncatedBackprop(form=Decoupled()), tau_rule=None, beta_rule=None),
            Averaged(),
            r"config.objective is TruncatedBackprop\(.*leave it at Analytic\(\)",
        ),
    ],
)
def test_settings_beside_it_that_it_cannot_work_with(config: ControllerConfig, objective: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Controller(config, objective=objective)


def test_it_never_gets_an_unroll_of_another_length() -> None:
    seen: list[ControllerGradients | None] = []

    class Asking(ControllerObjective):
        name = "asking"

        def compute(self, meta_ctx: ControllerMetaContext) -> None:
            assert meta_ctx.backprop_fn is not None
            seen.extend(meta_ctx.backprop_fn(steps) for steps in (1, 2, 5))

    numbers = (1.8, 0.06, 0.5, 0.2, -0.01, -0.02)
    sensitivity = Sensitivity(*numbers, steps=2, tokens=9, tau=0.3, beta=0.1, version=0, share=1.0)
    rules = Controller(CONFIG, objective=Asking())
    rules.step(rules.init(), measured(), ControllerGradients(sensitivity=sensitivity))
    assert seen == [None, ControllerGradients(sensitivity=sensitivity), None]


@pytest.mark.parametrize("name", ["analytic", "grpo", "custom"])
def test_a_label_of_the_package_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"objective.name is '{name}', a name of the package; choose another one"):
        ControllerConfig(objective=CustomObjective(import_path="a:b", name=name))
