"""A checkpoint of schema 1 is read: coefficients and averages go on, the watch begins anew and says nothing twice.

``schema_1.safetensors`` was written by the code of that schema (commit 38c1b0d): ``encode_state`` of the ``MODEL`` and
the ``OPTIMIZER`` below and of a local client after forty updates at KL = .2 under ``CONFIG``, at step 30 of which β was
said to be saturated.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from maxent_ray.core.alarms import Alarm
from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.controller_state import ControllerState, Reason
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.window import Watch
from maxent_ray.errors import InvalidReportError, ResumeError
from maxent_ray.runtime import checkpoint
from maxent_ray.runtime.connecting import connect
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.upgrades import upgraded
from maxent_ray.train.checkpoint import decode_state, encode_state

SCHEMA_1 = Path(__file__).with_name("schema_1.safetensors")
CONFIG = ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05, beta=0.1, beta_max=1.0)
WEIGHT = torch.arange(6, dtype=torch.float32).reshape(2, 3) / 3
MODEL = {"embedding": WEIGHT, "head": WEIGHT, "bias": torch.tensor([0.5, -2.0], dtype=torch.bfloat16)}
OPTIMIZER = {"step": torch.tensor(40.0), "exp_avg": WEIGHT / 7, "exp_avg_sq": WEIGHT**2}


def as_written() -> dict[str, Any]:
    """The client's state in the file, not yet brought to today's form."""
    content = checkpoint.decode(SCHEMA_1.read_bytes(), SCHEMA_1)
    assert content.schema == 1
    values: dict[str, Any] = content.state["controller"]
    return values


def assert_same_bits(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_parameters_moments_and_step_are_read() -> None:
    state = decode_state(SCHEMA_1.read_bytes(), SCHEMA_1)
    assert state["step"] == 40
    assert_same_bits(state["model"], MODEL)
    assert list(state["optimizer"]) == [0]
    assert_same_bits(state["optimizer"][0], OPTIMIZER)


def test_the_controller_goes_on_and_says_nothing_twice() -> None:
    client = connect("run", 0, 1, CONFIG, options=ClientOptions(lag=0), local=True)
    client.load_state_dict(decode_state(SCHEMA_1.read_bytes(), SCHEMA_1)["controller"])
    assert (client.coefficients(40).tau, client.coefficients(40).beta) == (0.27925321776992656, 1.0)
    loaded = ControllerState.from_dict(client.state_dict()["state"])
    assert (loaded.tau, loaded.beta, loaded.version, loaded.step) == (0.27925321776992656, 1.0, 40, 39)
    assert loaded.tau_rule == {"step.previous_gradient": -0.0013157894736841825, "step.started": 1.0}
    assert loaded.beta_rule == {"step.previous_gradient": -1.0, "step.started": 1.0}
    assert loaded.reasons == {"clipped": 30, "infeasible_target": 10}
    assert loaded.tau_watch == Watch(settings=CONFIG.actuator("tau").fingerprint)
    assert loaded.beta_watch == Watch(settings=CONFIG.actuator("beta").fingerprint, said={"saturated": 30})
    controller = Controller(CONFIG)
    alarms: list[Alarm] = []
    as_before = BatchStatistics(groups=1, weight_entropy_sum=1.9, tokens=1, policy_kl_sum=0.2)
    for _ in range(100):
        loaded, decision = controller.step(loaded, as_before)
        alarms += decision.alarms
    assert (loaded.beta, alarms, decision.reason) == (1.0, [], Reason.INFEASIBLE_TARGET)


def test_what_is_upgraded_is_left_as_it_was() -> None:
    values = as_written()
    before = copy.deepcopy(values)
    upgraded(values, 1)
    assert values == before


def test_what_is_of_today_stays_as_it_is() -> None:
    values = {"state": Controller(CONFIG).init().to_dict(), "answered": []}
    assert upgraded(values, checkpoint.SCHEMA) is values


def test_a_state_of_schema_1_without_its_schema_is_refused_by_name() -> None:
    with pytest.raises(InvalidReportError, match=r"controller state is a dict; .*unknown: 'saturated'"):
        ControllerState.from_dict(as_written()["state"])


def test_a_newer_one_is_refused_with_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "SCHEMA", 3)
        block = encode_state({"step": 1, "model": {}, "optimizer": {}, "controller": {}})
    with pytest.raises(ResumeError, match=rf"{tmp_path / 'state'} was written by a newer maxent_ray \(schema 3"):
        decode_state(block, tmp_path / "state")
