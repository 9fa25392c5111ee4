"""State, coefficients and decisions: they survive JSON, and what is malformed is rejected by name."""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import asdict
from typing import Any

import pytest

from maxent_ray.core.state import Coefficients, ControllerState, Decision, Reason
from maxent_ray.core.statistics import BatchStatistics, Reach
from maxent_ray.errors import InvalidReportError

STATE = ControllerState(
    tau=0.1234567890123456,
    beta=1e-4,
    version=12,
    step=11,
    tau_rule={"step": {"velocity": 0.1 + 0.2}, "ema": {"mean": -1e-17, "updates": 3.0}},
    beta_rule={"step": {"first_moment": 1 / 3, "second_moment": 5e-324, "updates": 12.0}},
    objective={"mine": {"mean": 1 / 3, "parts": {"level": 0.05, "updates": 11}}},
    window=BatchStatistics(groups=24, tokens=1234, policy_kl_sum=61.7, kl_beta_sum=-2.5),
)


def with_value(path: str, value: object) -> dict[str, Any]:
    """The state's dictionary with one entry replaced; ``path`` is separated by "/"."""
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
    values["window"]["tokens"] = 1
    assert STATE.window.tokens == 1234


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
        ("tau_rule/ema/mean", math.nan, "tau_rule.ema.mean is nan; it must be a finite number"),
        ("beta_rule/step/updates", math.inf, "beta_rule.step.updates is inf; it must be a finite number"),
        ("beta_rule/step/updates", -1.0, "beta_rule.step.updates is -1.0; it must be a finite number >= 0"),
        ("beta_rule/step/second_moment", -1e-9, "beta_rule.step.second_moment is -1e-09; it must be"),
        ("window/policy_kl_sum", math.nan, "window.policy_kl_sum is nan; it must be a finite number"),
        ("objective/mine/mean", math.nan, "objective.mine.mean is nan; it must be a finite number"),
        ("objective/mine/mean", "much", "objective.mine.mean is 'much'; it must be a finite number"),
        ("objective/mine/parts/level", math.inf, "objective.mine.parts.level is inf; it must be a finite number"),
        ("objective/mine", {"a": {"b": {"c": {"d": {}}}}}, "objective.mine.a.b.c.d is a dict; it must be a number: 5"),
        ("objective/mine", {"inner": "x"}, "objective.mine.inner is 'x'; it must be a finite number"),
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
