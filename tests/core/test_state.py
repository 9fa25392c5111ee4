"""State, coefficients and decisions: they survive JSON, and what is malformed is rejected by name."""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import asdict
from typing import Any

import pytest

from maxent_ray.core.objectives.decoupled import Authority, Decoupling
from maxent_ray.core.objectives.kl_filter import KlFilter
from maxent_ray.core.objectives.meta_gradient import RunningSensitivity, SensitivityTrack
from maxent_ray.core.state import Coefficients, ControllerState, Decision, Reason
from maxent_ray.core.statistics import BatchStatistics, Reach
from maxent_ray.errors import InvalidReportError

STATE = ControllerState(
    tau=0.1234567890123456,
    beta=1e-4,
    version=12,
    step=11,
    tau_rule={"step.velocity": 0.1 + 0.2, "ema.mean": -1e-17, "ema.updates": 3.0},
    beta_rule={"step.first_moment": 1 / 3, "step.second_moment": 5e-324, "step.updates": 12.0},
    sensitivities=SensitivityTrack(RunningSensitivity(-3.5, 0.7, 12), RunningSensitivity(-8.25, -1 / 3, 11)),
    decoupling=Decoupling(Authority(-3.2, -2.1, 7), KlFilter(level=0.05, push=1 / 3, measurements=11), step=11),
    window=BatchStatistics(groups=24, tokens=1234, policy_kl_sum=61.7, kl_beta_sum=-2.5),
)


def with_value(path: str, value: object) -> dict[str, Any]:
    """The state's dictionary with one entry replaced; ``path`` is dotted by "/", keys hold dots."""
    values = copy.deepcopy(STATE.to_dict())
    *parents, last = path.split("/")
    inner = values
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return values


def test_a_state_survives_json_to_the_last_bit() -> None:
    text = json.dumps(STATE.to_dict(), allow_nan=False)
    assert ControllerState.from_dict(json.loads(text)) == STATE
    assert len(text) < 1600  # it travels with every request and every answer


def test_the_dictionary_is_the_whole_state_and_shares_nothing_with_it() -> None:
    values = STATE.to_dict()
    assert values == asdict(STATE)
    values["tau_rule"]["ema.mean"] = 1.0
    assert STATE.tau_rule["ema.mean"] == -1e-17


def test_a_fresh_state_survives_json() -> None:
    state = ControllerState(tau=0.3, beta=0.0)
    assert ControllerState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    assert (state.step, state.version) == (-1, 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tau", math.nan, "tau is nan; it must be a finite number >= 0"),
        ("tau", -0.1, "tau is -0.1; it must be a finite number >= 0"),
        ("tau", None, "tau is None; it must be a finite number >= 0"),
        ("beta", math.inf, "beta is inf; it must be a finite number >= 0"),
        ("beta", "0.1", "beta is '0.1'; it must be a finite number >= 0"),
        ("tau_rule/ema.mean", math.nan, "tau_rule.ema.mean is nan; it must be a finite number"),
        ("beta_rule/step.updates", math.inf, "beta_rule.step.updates is inf; it must be a finite number"),
        ("window/policy_kl_sum", math.nan, "window.policy_kl_sum is nan; it must be a finite number"),
        ("decoupling/step", 0.5, "decoupling.step is 0.5; it must be a whole number >= -1"),
        ("decoupling/authority/updates", -1, "decoupling.authority.updates is -1; it must be a whole number >= 0"),
        ("decoupling/kl/level_level", -1e-9, "decoupling.kl.level_level is -1e-09; it must be a finite number >= 0"),
        ("decoupling/kl/push", math.nan, "decoupling.kl.push is nan; it must be a finite number"),
        ("decoupling/step", math.nan, "decoupling.step is nan; it must be a whole number >= -1"),
        ("sensitivities/kl_beta/direction", math.nan, "sensitivities.kl_beta.direction is nan; it must be a finite"),
    ],
)
def test_a_number_that_decisions_rest_on_must_be_one(path: str, value: object, message: str) -> None:
    with pytest.raises(InvalidReportError, match=f"^controller state\\.{re.escape(message)}"):
        ControllerState.from_dict(with_value(path, value))


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("epoch", "controller state"),
        ("window/epoch", "controller state.window"),
        ("decoupling/authority/epoch", "controller state.decoupling.authority"),
        ("sensitivities/epoch", "controller state.sensitivities"),
        ("sensitivities/entropy_tau/epoch", "controller state.sensitivities.entropy_tau"),
    ],
)
def test_an_unknown_key_is_named(path: str, where: str) -> None:
    with pytest.raises(InvalidReportError, match=rf"^{where} is a dict; .* keys .*\(unknown: 'epoch'\)$"):
        ControllerState.from_dict(with_value(path, 1))


@pytest.mark.parametrize("name", [*STATE.to_dict()])
def test_a_missing_key_is_named(name: str) -> None:
    values = STATE.to_dict()
    del values[name]
    with pytest.raises(InvalidReportError, match=rf"\(missing: '{name}'\)$"):
        ControllerState.from_dict(values)


def test_coefficients_are_the_states_for_a_step() -> None:
    assert STATE.coefficients(13) == Coefficients(tau=STATE.tau, beta=STATE.beta, version=12, step=13)


def test_a_decision_is_ready_for_json() -> None:
    decision = Decision(
        step=3,
        version=4,
        reason=Reason.INFEASIBLE_TARGET,
        tau=0.3,
        beta=0.1,
        previous_tau=0.2,
        previous_beta=0.1,
        events=("tau.clipped", "beta.projected_low"),
        entropy_reach=Reach(0.5, 1.5),
    )
    read = json.loads(json.dumps(decision.to_dict(), allow_nan=False))
    assert read["reason"] == "infeasible_target"
    assert read["events"] == ["tau.clipped", "beta.projected_low"]
    assert read["entropy"] is None
    assert read["entropy_reach"] == [0.5, 1.5]


def test_the_reasons_are_those_of_the_contract() -> None:
    assert {reason.value for reason in Reason} == {
        "updated",
        "clipped",
        "dead_band",
        "warm_up",
        "interval",
        "no_gradient",
        "non_finite",
        "infeasible_target",
    }
