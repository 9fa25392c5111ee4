"""Numbers of numpy, torch and the standard library: whatever is a number exactly is taken, and held as Python's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.numbers import LARGEST_COUNT, exact_number, exact_whole
from maxent_ray.core.objectives import ControllerGradients, Sensitivity
from maxent_ray.core.state import ControllerState
from maxent_ray.core.statistics import BatchStatistics, merge
from maxent_ray.core.update_rules import adam, chain
from maxent_ray.core.update_rules.base import Signal
from maxent_ray.core.update_rules.error_rules import Adam
from maxent_ray.core.validation import find_violation

COUNTS: list[Callable[[int], Any]] = [int, float, np.int64, np.uint8, np.float32, np.array, torch.tensor, Fraction]
"""24 in many types."""
SUMS: list[Callable[[float], Any]] = [float, np.float64, np.float32, np.float16, np.array, torch.tensor, Decimal]
"""0.5 in many types."""


@pytest.mark.parametrize("count", COUNTS)
def test_counts_of_any_library_are_whole_numbers(count: Callable[[int], Any]) -> None:
    statistics = BatchStatistics(groups=count(24), tied_groups=count(0))
    assert find_violation(statistics) is None
    assert statistics == BatchStatistics(groups=24)
    assert type(statistics.groups) is int


@pytest.mark.parametrize("real", SUMS)
def test_sums_of_any_library_are_floats_of_the_same_value(real: Callable[[float], Any]) -> None:
    statistics = BatchStatistics(groups=1, policy_kl_sum=real(0.5), reward_sum=real(-2.0))
    assert find_violation(statistics) is None
    assert (statistics.policy_kl_sum, statistics.reward_sum) == (0.5, -2.0)
    assert json.loads(json.dumps(merge(statistics, statistics).to_dict()))["policy_kl_sum"] == 1.0


def test_no_value_is_rounded() -> None:
    assert exact_number(np.float32(0.1)) == float(np.float32(0.1)) != 0.1
    assert exact_number(torch.tensor(0.1, dtype=torch.bfloat16)) == 0.10009765625
    assert exact_whole(np.int64(LARGEST_COUNT + 1)) == LARGEST_COUNT + 1  # not a float
    assert exact_number(10**400) == 10**400


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        np.True_,
        torch.tensor(True),
        np.array(True),
        "24",
        np.str_("24"),
        b"24",
        1 + 0j,
        np.complex64(1),
        np.clongdouble(1 + 2j),
        torch.tensor(1 + 0j),
        np.array("24"),
        np.array(True, dtype=object),
        np.datetime64("2024-05-01"),
        [24],
        np.array([1.0, 2.0]),
        torch.tensor([1.0, 2.0]),
        Ellipsis,
    ],
    ids=repr,
)
def test_what_is_no_number_is_refused(value: Any) -> None:
    assert exact_number(value) is None
    violation = find_violation(BatchStatistics(groups=value))
    assert violation is not None
    assert violation.path == "groups"


@pytest.mark.parametrize(
    "value", [24.5, 2.0**53, np.float32(24.5), math.nan, np.float32("nan"), torch.tensor(math.inf)]
)
def test_a_count_is_whole(value: Any) -> None:
    violation = find_violation(BatchStatistics(groups=value))
    assert violation is not None
    assert "a whole number >= 0" in violation.valid


@pytest.mark.parametrize("nan", [math.nan, np.float32("nan"), np.array(math.nan), torch.tensor(math.nan)])
def test_nan_of_any_library_is_a_violation(nan: Any) -> None:
    violation = find_violation(BatchStatistics(reward_sum=nan))
    assert violation is not None
    assert type(violation.value) is float
    assert math.isnan(violation.value)


def test_a_state_with_numbers_of_numpy_is_read_as_pythons() -> None:
    controller = Controller(ControllerConfig(group_size=8, target_entropy=1.9, tau_rule=Adam()))
    state, _ = controller.step(controller.init(), BatchStatistics(groups=1, weight_entropy_sum=1.5))
    values = state.to_dict()
    of_numpy = {**values, "tau": np.float64(values["tau"]), "version": np.int64(1), "step": 0.0}
    of_numpy["tau_rule"] = {name: _numpy(memory) for name, memory in values["tau_rule"].items()}
    read = ControllerState.from_dict(of_numpy)
    assert read == state
    assert type(read.version) is int
    assert json.dumps(read.to_dict()) == json.dumps(values)


def _numpy(memory: Any) -> Any:
    return {name: _numpy(value) for name, value in memory.items()} if isinstance(memory, dict) else np.array(memory)


def test_settings_of_any_library_are_those_of_python() -> None:
    given = ControllerConfig(
        group_size=np.int64(8),  # type: ignore[arg-type]
        target_entropy=torch.tensor(1.5),  # type: ignore[arg-type]
        target_kl=np.float32(0.0625),  # type: ignore[arg-type]
        warmup_steps=3.0,  # type: ignore[arg-type]
        beta_rule=Adam(learning_rate=np.float32(0.25)),  # type: ignore[arg-type]
    )
    written = ControllerConfig(
        group_size=8, target_entropy=1.5, target_kl=0.0625, warmup_steps=3, beta_rule=Adam(learning_rate=0.25)
    )
    assert given == written
    assert json.dumps(given.to_dict()) == json.dumps(written.to_dict())


def test_gradients_of_any_library_move_the_coefficients_alike() -> None:
    config = ControllerConfig(group_size=8, target_entropy=1.5, target_kl=0.1)
    controller, statistics = Controller(config), BatchStatistics(
        groups=1, tokens=1, weight_entropy_sum=1.5, policy_kl_sum=0.1
    )
    expected = controller.step(controller.init(), statistics, ControllerGradients(tau_grad=0.5, beta_grad=0.25))
    for convert in SUMS:
        gradients = ControllerGradients(tau_grad=convert(0.5), beta_grad=convert(0.25))
        assert gradients.has_updates()
        state, decision = controller.step(controller.init(), statistics, gradients)
        assert (state, decision) == expected
        json.dumps([state.to_dict(), decision.to_dict()])


def test_a_sensitivity_of_numpy_is_one() -> None:
    derivatives = {"entropy_tau": 0.5, "entropy_beta": 0.25, "kl_tau": -0.5, "kl_beta": -0.25}
    values = {"entropy": 1.5, "kl": 0.5, **derivatives, "tau": 0.5, "beta": 0.5, "share": 1.0}
    counts = {"steps": 2, "tokens": 900, "version": 4}
    expected = Sensitivity(**values, **counts)
    of_numpy = {name: np.float32(value) for name, value in values.items()}
    assert Sensitivity(**of_numpy, **{name: np.int64(value) for name, value in counts.items()}) == expected


def test_a_rule_that_computes_in_float32_has_a_state_that_json_carries() -> None:
    rule = chain(step=adam(learning_rate=np.float32(0.25)))  # type: ignore[arg-type]
    signal, memory = rule.update(Signal(gradient=np.float32(0.5), value=0.5), rule.init(0.5))  # type: ignore[arg-type]
    json.dumps(ControllerState(tau=float(signal.value), beta=0.1, tau_rule=memory).to_dict())
