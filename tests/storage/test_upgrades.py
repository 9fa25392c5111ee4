"""Checkpoints of older schemas are read: coefficients and averages continue, and no alarm is raised twice.

``schema_N.safetensors`` were written by the code of those schemas (commits 38c1b0d, de68b1c, 07c1441, c1a7c45 and
c389991): ``encode_state`` of the ``MODEL`` and the ``OPTIMIZER`` below and of a local client after forty updates at
KL = .2 under ``CONFIG``, at step 30 of which an alarm was raised on β (saturated). From schema 3 on, with ``lag=1``,
the last of the forty rounds was still pending.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives import ControllerGradients
from maxent_ray.core.objectives.sensitivity import Sensitivity
from maxent_ray.core.state import Coefficients
from maxent_ray.core.statistics import BatchStatistics, EntropySignal
from maxent_ray.core.validation import to_plain
from maxent_ray.errors import InvalidReportError, ResumeError
from maxent_ray.runtime.client import ControllerClient
from maxent_ray.runtime.connect import connect
from maxent_ray.runtime.options import ClientOptions
from maxent_ray.storage import checkpoint
from maxent_ray.storage.upgrades import upgrade_client_state
from maxent_ray.train.worker_state import decode_state, encode_state

FILES = {schema: Path(__file__).with_name(f"schema_{schema}.safetensors") for schema in range(1, 6)}
CONFIG = ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05, beta=0.1, beta_max=1.0)
WEIGHT = torch.arange(6, dtype=torch.float32).reshape(2, 3) / 3
MODEL = {"embedding": WEIGHT, "head": WEIGHT, "bias": torch.tensor([0.5, -2.0], dtype=torch.bfloat16)}
OPTIMIZER = {"step": torch.tensor(40.0), "exp_avg": WEIGHT / 7, "exp_avg_sq": WEIGHT**2}
NEXT = [
    (0.24432988912326142, 1.0, 39),
    (0.2430473204797264, 1.0, 40),
    (0.24177148446448865, 1.0, 41),
    (0.24050234573574872, 1.0, 42),
    (0.23923986913722795, 1.0, 43),
    (0.2379840196971947, 1.0, 44),
]
"""Coefficients and versions of steps 40 to 45 under schemas 2 to 5, uninterrupted, ``lag=1``, with ``AS_BEFORE``."""
AS_BEFORE = BatchStatistics(groups=1, weight_entropy_sum=1.905, tokens=1, policy_kl_sum=0.2)


def as_written(schema: int) -> dict[str, Any]:
    """The client's state in the file, not yet brought to today's form."""
    content = checkpoint.decode(FILES[schema].read_bytes(), FILES[schema])
    assert content.schema == schema
    values: dict[str, Any] = content.state["controller"]
    return values


def resumed(schema: int, lag: int) -> ControllerClient:
    client = connect("run", 0, 1, CONFIG, options=ClientOptions(lag=lag), local=True)
    client.load_state_dict(decode_state(FILES[schema].read_bytes(), FILES[schema])["controller"])
    return client


def assert_same_bits(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("schema", FILES)
def test_parameters_moments_and_step_are_read(schema: int) -> None:
    state = decode_state(FILES[schema].read_bytes(), FILES[schema])
    assert (state["step"], state["prompts"]) == (40, "" if schema == 5 else None)
    assert_same_bits(state["model"], MODEL)
    assert list(state["optimizer"]) == [0]
    assert_same_bits(state["optimizer"][0], OPTIMIZER)


def test_schema_1_goes_on_where_it_was() -> None:
    client = resumed(1, lag=0)
    assert client.coefficients(40) == Coefficients(0.27925321776992656, 1.0, version=40, step=40)
    state = client.state_dict()["state"]
    assert state["tau_rule"] == {"step": {"previous_gradient": -0.0013157894736841825, "started": 1.0, "owed": 0.0}}
    # that schema's rule did not smooth its errors, and cut them elsewhere: they say nothing to this one
    step = dict.fromkeys(("previous_gradient", "started", "rising", "push", "owed"), 0.0)
    anew = {"ema": {"mean": 0.0, "updates": 0.0}, "step": step}
    assert state["beta_rule"] == anew


@pytest.mark.parametrize("schema", [2, 3, 4, 5])
def test_a_run_continues_as_under_its_own_code(schema: int) -> None:
    client = resumed(schema, lag=1)
    seen = []
    for step in range(40, 46):
        known = client.coefficients(step)
        seen.append((known.tau, known.beta, known.version))
        client.report(step, AS_BEFORE)
    assert seen == NEXT


@pytest.mark.parametrize("schema", [3, 4, 5])
def test_pending_gradients_are_trusted_as_before(schema: int) -> None:
    """The fixtures are of analytic runs; a truncated backprop one had the ranks' sensitivities pending."""
    values = as_written(schema)
    sensitivity = Sensitivity(1.85, 0.06, 0.5, 0.1, 0.01, -0.02, 1, 9, tau=0.24, beta=1.0, version=39, share=0.1)
    gradients = to_plain(ControllerGradients(source="truncated_backprop", sensitivity=sensitivity))
    old = {name: value for name, value in gradients.items() if not name.endswith("_confidence")}
    values["pending"] = {**values["pending"], "gradients": old}
    client = connect("run", 0, 1, CONFIG, options=ClientOptions(lag=1), local=True)
    client.load_state_dict(upgrade_client_state(values, schema))
    pending = client.state_dict()["pending"]["gradients"]
    assert pending == gradients and pending["beta_confidence"] == 1.0


@pytest.mark.parametrize("signal", ["informative_weight_entropy", "mode_entropy"])
@pytest.mark.parametrize("schema", [3, 4])
def test_a_signal_that_the_schema_lacked_may_be_tracked_next(schema: int, signal: EntropySignal) -> None:
    """The pending round was not measured for it: τ stays, β moves on; the next round moves both."""
    config = replace(CONFIG, entropy_signal=signal, beta_max=100.0)
    client = connect("run", 0, 1, config, options=ClientOptions(lag=1), local=True)
    client.load_state_dict(decode_state(FILES[schema].read_bytes(), FILES[schema])["controller"])
    measured = {"informative_weight_entropy_sum": 1.5, "mode_entropy_sum": 1.5, "informative_groups": 1}
    client.report(40, replace(AS_BEFORE, **measured, solved_groups=1))
    client.wait_for_decision()
    held, moved = client.decisions()[-2:]
    assert "tau.not_measured" in held["events"]
    assert held["tau"] == held["previous_tau"] and held["beta"] > held["previous_beta"]
    assert moved["entropy"] == 1.5 and moved["tau"] > moved["previous_tau"]


@pytest.mark.parametrize("schema", FILES)
def test_set_points_of_older_checkpoints_have_arrived(schema: int) -> None:
    client = resumed(schema, lag=0)
    for step in range(40, 42):
        client.coefficients(step)
        client.report(step, AS_BEFORE)
    decision = client.last_decision
    assert decision is not None
    assert (decision["entropy_set_point"], decision["kl_set_point"]) == (CONFIG.target_entropy, CONFIG.target_kl)


@pytest.mark.parametrize("schema", FILES)
def test_alarms_that_were_given_are_not_given_again(schema: int, caplog: pytest.LogCaptureFixture) -> None:
    client = resumed(schema, lag=0)
    with caplog.at_level(logging.WARNING):
        for step in range(40, 140):
            client.coefficients(step)
            client.report(step, AS_BEFORE)
    assert caplog.records == []
    assert client.state_dict()["alarms"]["beta"]["raised"] == {"saturated": 30}


@pytest.mark.parametrize("schema", FILES)
def test_what_is_upgraded_is_left_as_it_was(schema: int) -> None:
    values = as_written(schema)
    before = copy.deepcopy(values)
    upgrade_client_state(values, schema)
    assert values == before


@pytest.mark.parametrize("schema", [1, 2, 3, 4])
def test_an_older_state_without_its_schema_is_refused_by_name(schema: int) -> None:
    client = connect("run", 0, 1, CONFIG, local=True)
    missing = "informative_groups|entropy_set_point" if schema == 4 else "recent_coefficients"
    with pytest.raises(InvalidReportError, match=rf"client state\S* is a dict; .*missing: '({missing})'"):
        client.load_state_dict(as_written(schema))


def test_a_newer_one_is_refused_with_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "SCHEMA", 7)
        block = encode_state({"step": 1, "prompts": "", "model": {}, "optimizer": {}, "controller": {}})
    with pytest.raises(ResumeError, match=rf"{tmp_path / 'state'} was written by a newer maxent_ray \(schema 7"):
        decode_state(block, tmp_path / "state")
