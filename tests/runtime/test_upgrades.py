"""A checkpoint of schema 1 is read: coefficients and averages go on, the watch begins anew and says nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.controller_state import ControllerState, Reason
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.window import Watch
from maxent_ray.errors import ResumeError
from maxent_ray.runtime import checkpoint
from maxent_ray.runtime.connecting import connect
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.runtime.upgrades import upgraded
from maxent_ray.train.checkpoint import decode_state, encode_state

CONFIG = ControllerConfig(group_size=8, target_kl=0.05, beta=0.1, beta_max=1.0)


def saturated_state() -> ControllerState:
    controller = Controller(CONFIG)
    state = controller.init()
    for _ in range(100):
        state, _ = controller.step(state, BatchStatistics(tokens=1, policy_kl_sum=0.2))
    assert state.beta_watch.said == {"saturated": 30}
    return state


def of_schema_1(state: ControllerState) -> dict[str, Any]:
    """The same state as that schema had it."""
    values = json.loads(json.dumps(state.to_dict()))
    values["saturated"] = 89
    trend = {"count": 8, "mean": 3.0, "squares": 0.0, "products": 0.0}
    for name in ("tau_watch", "beta_watch"):
        values[name] = {
            "settings": values[name]["settings"],
            "errors": trend,
            "pushed": 1,
            "first_log": 0.0,
            "log_value": 0.0,
            "in_dead_band": 0,
            "outside": trend,
            "other_log": 0.0,
            "earlier": {"updates": 0, "error": 0.0, "variance": 0.0, "log_value": 0.0},
            "said": values[name]["said"],
        }
    return {"state": values, "answered": [{"tau": 0.3, "beta": 1.0, "version": 100, "step": 100}]}


def test_an_older_checkpoint_goes_on_and_says_nothing_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    state = saturated_state()
    old = {"step": 100, "model": {"w": torch.ones(2)}, "optimizer": {}, "controller": of_schema_1(state)}
    with monkeypatch.context() as earlier:
        earlier.setattr(checkpoint, "SCHEMA", 1)
        block = encode_state(old)
    read = decode_state(block, tmp_path / "state")["controller"]
    client = connect("run", 0, 1, CONFIG, options=ClientOptions(lag=0), local=True)
    client.load_state_dict(read)
    loaded = ControllerState.from_dict(client.state_dict()["state"])
    assert (loaded.tau, loaded.beta, loaded.beta_rule) == (state.tau, state.beta, state.beta_rule)
    said = state.beta_watch.said
    assert loaded.beta_watch == Watch(settings=state.beta_watch.settings, said=said)
    controller, alarms = Controller(CONFIG), []
    for _ in range(100):
        loaded, decision = controller.step(loaded, BatchStatistics(tokens=1, policy_kl_sum=0.2))
        alarms += decision.alarms
    assert (loaded.beta, alarms, decision.reason) == (1.0, [], Reason.INFEASIBLE_TARGET)


def test_what_is_of_today_stays_as_it_is() -> None:
    values = {"state": saturated_state().to_dict(), "answered": []}
    assert upgraded(values, checkpoint.SCHEMA) is values


def test_a_state_of_schema_1_without_its_schema_is_refused_by_name() -> None:
    values = of_schema_1(saturated_state())
    with pytest.raises(Exception, match=r"controller state is a dict; .*unknown: 'saturated'"):
        ControllerState.from_dict(values["state"])


def test_a_newer_one_is_refused_with_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "SCHEMA", 3)
        block = encode_state({"step": 1, "model": {}, "optimizer": {}, "controller": {}})
    with pytest.raises(ResumeError, match=rf"{tmp_path / 'state'} was written by a newer maxent_ray \(schema 3"):
        decode_state(block, tmp_path / "state")
