"""What is read from outside: every wrong type, size and sign at every path is an error that names it, in few words."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.field_types import LARGEST, shown
from maxent_ray.core.numbers import LARGEST_COUNT
from maxent_ray.core.objectives import ControllerGradients, Sensitivity
from maxent_ray.core.state import Coefficients, ControllerState, Reason
from maxent_ray.core.statistics import UNITS, BatchStatistics
from maxent_ray.core.validation import check_fields, read_dataclass
from maxent_ray.errors import InvalidReportError
from tests.core.rules import rules

STATE = ControllerState(
    tau=0.3, beta=0.1, tau_rule={"step": {"updates": 3.0}}, window=BatchStatistics(policy_kl_sum=3.0)
)
GARBAGE: list[Any] = [
    None,
    True,
    "0.1",
    "x" * 10**6,
    b"1",
    math.nan,
    math.inf,
    -math.inf,
    1e200,
    -1e200,
    10**400,
    -(10**400),
    10**5000,
    [],
    [[]],
    {"a": {}},
    {1: 1.0},
    {"x" * 65: 1.0},
    {str(i): 1.0 for i in range(33)},
    {"none": None},
    {"text": "1"},
    object(),
    complex(1, 1),
    np.array([1.0, 2.0]),
]
"""Fit no field at all."""


def paths(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, Mapping):
            yield from paths(value, (*above, name))


def with_entry(path: tuple[str, ...], value: object) -> dict[str, Any]:
    values = copy.deepcopy(STATE.to_dict())
    inner = values
    for parent in path[:-1]:
        inner = inner[parent]
    inner[path[-1]] = value
    return values


@pytest.mark.parametrize("path", list(paths(STATE.to_dict())), ids="/".join)
def test_no_garbage_passes_anywhere_in_a_state(path: tuple[str, ...]) -> None:
    nested = path[0] in ("tau_rule", "beta_rule", "objective")
    may_be_none = path[-1] in {"start", "target_checksum", *(f"{signal}_sum" for signal in UNITS)}
    for value in GARBAGE:
        if nested and isinstance(value, dict) and value == {"a": {}}:
            continue  # a memory without numbers is one
        if may_be_none and value is None:
            continue  # not measured
        with pytest.raises(InvalidReportError) as caught:
            ControllerState.from_dict(with_entry(path, value))
        message = str(caught.value)
        assert ".".join(path) in message
        assert len(message) < 800 + sum(map(len, path))


@pytest.mark.parametrize("index", range(len(GARBAGE)))
def test_a_state_is_a_mapping_with_its_own_keys(index: int) -> None:
    with pytest.raises(InvalidReportError, match=r"^controller state is .*it must be a mapping"):
        ControllerState.from_dict(GARBAGE[index])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("version", -1, "version is -1; it must be a whole number >= 0"),
        ("version", 2.5, "version is 2.5; it must be a whole number >= 0"),
        (
            "version",
            2**60,
            "version is 1152921504606846976; it must be a whole number >= 0 and <= 9.0072e+15",
        ),
        ("step", -2, "step is -2; it must be a whole number >= -1"),
        ("tau_rule/step/updates", -1.0, "tau_rule.step.updates is -1.0; it must be a finite number >= 0"),
        (
            "tau_rule/step/velocity",
            -1e101,
            "step.velocity is -1e+101; it must be a finite number at most 1e+100 in size",
        ),
        ("window/entropy_tau_sum", -1.0, "window.entropy_tau_sum is -1.0; it must be a finite number >= 0"),
        ("window/kl_beta_sum", 1.0, "window.kl_beta_sum is 1.0; it must be a finite number"),
        ("window/tied_groups", 1 << 2000, "window.tied_groups is a whole number of 2001 bits; it must be"),
    ],
)
def test_a_value_of_the_right_type_may_still_be_impossible(path: str, value: object, message: str) -> None:
    with pytest.raises(InvalidReportError) as caught:
        ControllerState.from_dict(with_entry(tuple(path.split("/")), value))
    assert message in str(caught.value)


def test_whole_numbers_from_json_become_the_floats_they_stand_for() -> None:
    """JSON writers of other languages drop the point of 1.0."""
    values = json.loads(json.dumps(STATE.to_dict()).replace("3.0", "3"))
    read = ControllerState.from_dict(values)
    assert read == STATE
    assert type(read.window.policy_kl_sum) is float


@dataclass(frozen=True)
class Nest:
    name: str
    open: bool
    eggs: tuple[Coefficients, ...]
    best: float | None = None


EGG = {"tau": 0.3, "beta": 0.1, "version": 1, "step": 0}


def test_texts_lists_and_optional_numbers() -> None:
    values = {"name": "oak", "open": True, "eggs": [EGG, EGG], "best": None}
    nest = read_dataclass(Nest, values, "nest")
    assert nest == Nest("oak", True, (Coefficients(0.3, 0.1, 1, 0),) * 2)
    check_fields(nest, "nest")
    for name, value, where in (
        ("name", 5, "nest.name is 5"),
        ("name", "x" * 201, r"nest.name is 'x+'… \(201 characters\)"),
        ("open", 1, "nest.open is 1"),
        ("eggs", [EGG, {**EGG, "tau": -1.0}], r"nest.eggs\[1\].tau is -1.0"),
        ("eggs", [EGG] * 33, "nest.eggs is a list; it must be a list of at most 32 entries"),
        ("best", "1", "nest.best is '1'"),
    ):
        with pytest.raises(InvalidReportError, match=f"^{where}"):
            read_dataclass(Nest, {**values, name: value}, "nest")


def test_an_instance_is_checked_to_its_depth() -> None:
    sensitivity = Sensitivity(1.9, 0.05, 0.1, 0.0, 0.0, -0.1, 1, 100, 0.3, 0.1, 4, 0.5)
    check_fields(ControllerGradients(0.1, None, "x", sensitivity), "gradients")
    with pytest.raises(InvalidReportError, match=r"^gradients.sensitivity.kl_beta is nan"):
        check_fields(ControllerGradients(sensitivity=replace(sensitivity, kl_beta=math.nan)), "gradients")


def test_a_shown_value_runs_no_code_of_its_own() -> None:
    class Trap:
        def __repr__(self) -> str:
            raise RuntimeError("printed")

    assert shown(Trap()) == "a Trap"
    assert len(shown("\x00" * 10**6)) < 300


# --- a state that the controller returns can always be read back ---

TINY_TARGETS = {"target_entropy": 1e-9, "target_kl": 1e-9}


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "newton", "pi"])
@pytest.mark.parametrize("form", ["linear", "log"])
@pytest.mark.parametrize("size", [1e30, 1e60, 9e99, -9e99])
def test_enormous_measurements_leave_a_state_that_can_be_read(optimizer: Any, form: Any, size: float) -> None:
    config = ControllerConfig(
        group_size=8,
        update_interval=2,
        **rules(optimizer, space=form, ema_decay=0.5, clip=None),  # type: ignore[arg-type]
        **TINY_TARGETS,  # type: ignore[arg-type]
    )
    controller = Controller(config)
    state = controller.init()
    measured = BatchStatistics(
        groups=1, tokens=1, weight_entropy_sum=size, policy_kl_sum=size, entropy_tau_sum=abs(size)
    )
    for _ in range(6):
        state, _ = controller.step(state, measured)
        assert ControllerState.from_dict(state.to_dict()) == state


def test_a_decision_on_numbers_that_are_too_large_is_none_at_all() -> None:
    config = ControllerConfig(group_size=8, **rules("adam", clip=None), **TINY_TARGETS)  # type: ignore[arg-type]
    controller = Controller(config)
    measured = BatchStatistics(groups=1, tokens=1, weight_entropy_sum=1e60, policy_kl_sum=1e-9)
    state, decision = controller.step(controller.init(), measured)  # (1e60/1e-9)² = 1e138 > LARGEST
    assert decision.reason is Reason.NON_FINITE
    assert replace(state, step=-1, version=0) == controller.init()


@pytest.mark.parametrize("index", range(len(GARBAGE)))
def test_statistics_of_any_kind_are_named_not_stumbled_over(index: int) -> None:
    value = GARBAGE[index]
    assert BatchStatistics(groups=value).invalid_field() == ("groups", value)
    invalid = BatchStatistics(reward_sum=value).invalid_field()
    assert invalid is not None and invalid[0] == "reward_sum"


def test_the_limits_themselves_pass() -> None:
    assert (
        BatchStatistics(groups=LARGEST_COUNT, reward_sum=-LARGEST, policy_kl_sum=LARGEST).invalid_field()
        is None
    )
