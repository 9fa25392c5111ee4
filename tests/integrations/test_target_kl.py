"""Drop-in for a trainer's adaptive KL controller: the calls that published trainers make, state, bounds, reasons.

The drivers below make the calls that those trainers' sources make, in the same order and with arguments of the same
types; none of the trainers is installed.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import maxent_ray.integrations
from maxent_ray import BatchStatistics, ClientOptions, ControllerConfig, connect
from maxent_ray.core.update_rules import AdaptiveKL
from maxent_ray.errors import ConfigError, InvalidReportError
from maxent_ray.integrations import TargetKLController
from tests.integrations.climbing_policy import ClimbingPolicy

MEASURED = [0.02, 0.09, 0.31, 0.07, 0.05, 0.04, 0.11, 0.06]
"""KL of successive batches, nats per token."""


def openrlhf(policy: ClimbingPolicy, rounds: int) -> TargetKLController:
    """Positional arguments; the coefficient goes to the workers as a float, the update comes after training."""
    kl_ctl = TargetKLController(0.01, 0.2, 10000)
    rollout_batch_size, n_samples_per_prompt = 128, 8
    for _ in range(rounds):
        kl_sent = kl_ctl.value
        assert type(kl_sent) is float
        policy.train(beta=kl_sent)
        status = {"kl": policy.kl().item()}
        kl_ctl.update(status["kl"], rollout_batch_size * n_samples_per_prompt)
    return kl_ctl


def verl(policy: ClimbingPolicy, rounds: int) -> TargetKLController:
    """Keywords, the constructor's too; the coefficient weighs a tensor, and the update comes before training."""
    kl_ctrl = TargetKLController(init_kl_coef=0.001, target_kl=0.2, horizon=10000)
    scores, mask = torch.zeros(16, 4), torch.ones(16, 4)
    for _ in range(rounds):
        kld = policy.kl().detach().float() * mask
        beta = kl_ctrl.value
        assert (scores - beta * kld).dtype == torch.float32
        current_kl = torch.mean((kld * mask).sum(-1) / mask.sum(-1), dim=0).item()
        kl_ctrl.update(current_kl=current_kl, n_steps=torch.Size([16])[0])
        policy.train(beta)
    return kl_ctrl


def skyrl(policy: ClimbingPolicy, rounds: int) -> TargetKLController:
    """As verl, by other names."""
    controller = TargetKLController(init_kl_coef=0.001, target=0.2, horizon=10000)
    for _ in range(rounds):
        kl = policy.kl().detach().expand(16, 4)
        coefficient = max(0, controller.value)
        controller.update(current=kl.mean(-1).mean().item(), n_steps=kl.shape[0])
        policy.train(coefficient)
    return controller


def trl_ppo(policy: ClimbingPolicy, rounds: int) -> TargetKLController:
    """TRL's former PPO: an array of numpy, and the batch of all processes."""
    kl_ctl = TargetKLController(0.2, 0.2, 10000)
    for _ in range(rounds):
        policy.train(kl_ctl.value)
        kl_ctl.update(np.array(policy.kl().item(), dtype=np.float32), 128 * np.int64(2))
    return kl_ctl


Driver = Callable[[ClimbingPolicy, int], TargetKLController]
DRIVERS: list[Driver] = [openrlhf, verl, skyrl, trl_ppo]


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: str(driver.__name__))
def test_a_trainers_own_calls_bring_kl_to_its_target(
    driver: Callable[[ClimbingPolicy, int], TargetKLController],
) -> None:
    policy = ClimbingPolicy()
    controller = driver(policy, 300)
    recent = [decision["kl"] for decision in controller.decisions()[-50:]]
    assert max(abs(kl / 0.2 - 1) for kl in recent) < 0.05
    assert {decision["target_kl"] for decision in controller.decisions()} == {0.2}
    untouched = ClimbingPolicy()
    for _ in range(300):
        untouched.train(beta=0.001)
    assert untouched.kl() > 5 * 0.2  # without it KL goes on to rise


@pytest.mark.parametrize("response", ["fast", "slow", "auto"])
def test_it_decides_as_a_client_of_the_controller(response: Any) -> None:
    """Same settings, same measurements: the same decisions, alarms and all."""
    controller = TargetKLController(0.1, 0.05, response=response, update_interval=2, warmup_steps=1, bounds=(1e-3, 0.2))
    settings = {"beta_min": 1e-3, "beta_max": 0.2, "update_interval": 2, "warmup_steps": 1}
    config = ControllerConfig(beta=0.1, target_kl=0.05, kl_response=response, **settings)  # type: ignore[arg-type]
    client = connect("run", 0, 1, config, options=ClientOptions(lag=0), local=True)
    for step in range(640):
        kl, samples = MEASURED[step % 8] if step < 20 else 0.4, 16 + step
        controller.update(kl, samples)
        client.report(step, BatchStatistics(tokens=samples, policy_kl_sum=kl * samples))
        assert controller.value == client.coefficients(step + 1).beta
    assert controller.decisions() == client.decisions()
    assert controller.last_decision == client.last_decision
    assert controller.decisions(since_version=150) == client.decisions(150)
    assert any(decision["alarms"] for decision in controller.decisions())  # the bound holds β back


@pytest.mark.parametrize(("reference", "response"), [("frozen_policy", "slow"), ("behaviour_policy", "fast")])
def test_kl_answers_as_its_reference_says_unless_told_otherwise(reference: Any, response: Any) -> None:
    other = "fast" if response == "slow" else "slow"
    declared = TargetKLController(0.1, 0.05, kl_reference=reference)
    same, told = (TargetKLController(0.1, 0.05, kl_reference=reference, response=each) for each in (response, other))
    usual = TargetKLController(0.1, 0.05)
    for kl in MEASURED:
        for controller in (declared, same, told, usual):
            controller.update(kl, 32)
    assert declared.value == same.value != told.value
    assert (usual.value == declared.value) == (reference == "frozen_policy")


def test_n_steps_weighs_the_values_of_one_move_and_no_more() -> None:
    even, uneven, alone = (TargetKLController(0.1, 0.05, update_interval=n) for n in (2, 2, 1))
    even.update(0.1, 100)
    even.update(0.2, 100)
    uneven.update(0.1, 300)
    uneven.update(0.2, 100)
    alone.update(0.15, 7)
    assert even.last_decision is not None and uneven.last_decision is not None
    assert even.last_decision["kl"] == pytest.approx(0.15)
    assert uneven.last_decision["kl"] == pytest.approx(0.125)
    assert even.decisions()[0]["reason"] == "interval"
    twice = TargetKLController(0.1, 0.05)
    twice.update(0.15, 14)
    assert twice.value == pytest.approx(alone.value, rel=1e-12)


def test_zieglers_rule_can_be_had_too() -> None:
    """β·(1 + clip(KL/KL* − 1, ±.2)·n/horizon), n/horizon = 10/100: the golden value of peers' controllers."""
    controller = TargetKLController(0.2, 0.1, rule=AdaptiveKL(horizon=10))
    controller.update(0.2, 10)
    assert controller.value == pytest.approx(0.204)


@pytest.mark.parametrize(
    "value",
    [
        0.1,
        np.float64(0.1),
        np.float32(0.1),
        np.array(0.1),
        np.array([0.1]),
        torch.tensor(0.1),
        torch.tensor([0.1], dtype=torch.float64),
        torch.tensor(0.1, requires_grad=True),
        torch.tensor(0.1, dtype=torch.bfloat16),
    ],
    ids=lambda value: f"{type(value).__module__}-{getattr(value, 'dtype', 'float')}-{getattr(value, 'ndim', 0)}",
)
def test_numbers_of_any_library_are_taken(value: Any) -> None:
    controller = TargetKLController(value, value, bounds=(value, np.float64(10)))
    controller.update(value * 2, torch.tensor(8))
    assert type(controller.value) is float and type(controller.target) is float
    assert 0.09 < controller.target < 0.11 and controller.value > controller.bounds[0]
    json.dumps(controller.state_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "kl", [math.nan, math.inf, -math.inf, 1e308, 10**400, torch.tensor(math.nan), np.float32("inf")]
)
def test_a_kl_that_is_not_finite_moves_nothing(kl: Any) -> None:
    controller, undisturbed = TargetKLController(0.1, 0.05), TargetKLController(0.1, 0.05)
    for each in (controller, undisturbed):
        each.update(0.09, 10)
    before = controller.value
    controller.update(kl, 10)
    assert controller.value == before
    assert controller.last_decision is not None and controller.last_decision["reason"] == "non_finite"
    for each in (controller, undisturbed):
        each.update(0.08, 10)
    assert controller.value == undisturbed.value


def test_an_estimate_of_kl_may_be_negative() -> None:
    """As the mean of k1 on a small batch."""
    controller = TargetKLController(0.1, 0.05)
    controller.update(-0.01, 10)
    assert controller.bounds[0] < controller.value < 0.1


def test_the_coefficient_stays_inside_its_bounds_and_an_alarm_says_so(caplog: pytest.LogCaptureFixture) -> None:
    controller = TargetKLController(0.1, 0.05, bounds=(0.05, 0.3))
    with caplog.at_level(logging.WARNING, logger="maxent_ray.runtime.decision_log"):
        for _ in range(60):
            controller.update(0.4, 64)
    assert controller.value == 0.3
    assert len(caplog.records) == 1 and "beta_max" in caplog.text
    for _ in range(200):
        controller.update(0.001, 64)
    assert controller.value == pytest.approx(0.05)


# --- state ---


def from_state(controller: TargetKLController, settings: dict[str, Any]) -> TargetKLController:
    fresh = TargetKLController(0.7, 0.05, **settings)
    fresh.load_state_dict(json.loads(json.dumps(controller.state_dict(), allow_nan=False)))
    return fresh


COPIES: dict[str, Callable[[TargetKLController, dict[str, Any]], TargetKLController]] = {
    "state": from_state,
    "pickle": lambda controller, settings: pickle.loads(pickle.dumps(controller)),  # type: ignore[no-any-return]
    "deepcopy": lambda controller, settings: copy.deepcopy(controller),
}


@pytest.mark.parametrize("how", sorted(COPIES))
@pytest.mark.parametrize("at", [0, 1, 3, 4])
@pytest.mark.parametrize("response", ["slow", "auto"])
def test_a_resumed_controller_goes_on_as_the_undisturbed_one(how: str, at: int, response: str) -> None:
    settings = {"update_interval": 2, "response": response}
    undisturbed = TargetKLController(0.1, 0.05, **settings)  # type: ignore[arg-type]
    for kl in MEASURED[:at]:
        undisturbed.update(kl, 32)
    resumed = COPIES[how](undisturbed, settings)
    for kl in MEASURED[at:]:
        undisturbed.update(kl, 32)
        resumed.update(kl, 32)
        assert resumed.value == undisturbed.value
    assert resumed.decisions(since_version=at) == undisturbed.decisions(since_version=at)
    assert resumed.state_dict() == undisturbed.state_dict()
    if how != "state":
        assert resumed.decisions() == undisturbed.decisions()


def test_settings_stay_and_the_coefficient_is_brought_inside_the_bounds() -> None:
    wide, narrow = TargetKLController(2.0, 0.05), TargetKLController(0.1, 0.1, bounds=(0.01, 0.5))
    narrow.load_state_dict(wide.state_dict())
    assert (narrow.value, narrow.target, narrow.bounds) == (0.5, 0.1, (0.01, 0.5))


def test_a_state_taken_back_forgets_the_decisions_after_it() -> None:
    controller = TargetKLController(0.1, 0.05)
    controller.update(0.2, 8)
    saved = controller.state_dict()
    controller.update(0.3, 8)
    controller.load_state_dict(saved)
    assert [decision["version"] for decision in controller.decisions()] == [1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "KL controller state"),
        ([], "KL controller state is a list; it must be a mapping"),
        ({"state": {"tau": 0.3}, "alarms": None}, "KL controller state.state"),
    ],
)
def test_a_malformed_state_is_refused_and_nothing_is_loaded(values: Any, message: str) -> None:
    controller = TargetKLController(0.1, 0.05)
    controller.update(0.2, 8)
    before = controller.state_dict()
    with pytest.raises(InvalidReportError, match=message):
        controller.load_state_dict(values)
    assert controller.state_dict() == before


# --- bad input ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"init_kl_coef": 0.0}, r"^init_kl_coef is 0.0; it must be in bounds = \(0.0001, 100\)$"),
        ({"init_kl_coef": 1e-5}, r"^init_kl_coef is 1e-05; it must be in bounds"),
        ({"init_kl_coef": "0.1"}, r"^init_kl_coef is '0.1'; it must be in bounds"),
        ({"init_kl_coef": math.nan}, r"^init_kl_coef is nan; it must be in bounds"),
        ({"target": 0}, r"^target is 0; it must be a finite number > 0$"),
        ({"target": -0.1}, r"^target is -0.1; it must be a finite number > 0$"),
        ({"target": True}, r"^target is True; it must be a finite number > 0$"),
        ({"target": math.inf}, r"^target is inf; it must be a finite number > 0$"),
        ({"target": None}, r"^target is None and target_kl is None; give one of the two$"),
        ({"target_kl": 0.1}, r"^target is 0.05 and target_kl is 0.1; give one of the two$"),
        ({"target": None, "target_kl": 0}, r"^target_kl is 0; it must be a finite number > 0$"),
        ({"horizon": 0}, r"^horizon is 0; it must be a finite number > 0$"),
        ({"bounds": (0, 1)}, r"^bounds\[0\] is 0; it must be a finite number > 0$"),
        ({"bounds": (1.0, 0.05)}, r"^bounds is \(1, 0.05\); the least β comes first$"),
        ({"bounds": 1.0}, r"^bounds is 1.0; it must be a pair of numbers, the least and the largest β$"),
        ({"response": "medium"}, r"^response is 'medium'; valid: fast, slow, auto$"),
        ({"kl_reference": "frozen"}, r"^kl_reference is 'frozen'; valid: frozen_policy, behaviour_policy$"),
        ({"update_interval": 0}, r"^update_interval is 0; it must be >= 1$"),
        ({"warmup_steps": -1}, r"^warmup_steps is -1; it must be >= 0$"),
        ({"rule": "pi"}, r"^beta_rule is 'pi'; valid: "),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TargetKLController(**{"init_kl_coef": 0.1, "target": 0.05, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"current_kl": "0.1"}, r"^current_kl is '0.1'; it must be a number, the mean KL of the batch$"),
        ({"current_kl": torch.zeros(3)}, r"^current_kl is a Tensor; it must be a number"),
        ({"current": np.zeros(3)}, r"^current is a ndarray; it must be a number"),
        ({}, r"^give one of current_kl and current"),
        ({"current_kl": 0.1, "current": 0.1}, r"^give one of current_kl and current"),
        ({"current_kl": 0.1, "n_steps": 0}, r"^n_steps is 0; it must be >= 1, the samples of the batch$"),
        ({"current_kl": 0.1, "n_steps": 1.5}, r"^n_steps is 1.5; it must be a whole number$"),
        ({"current_kl": 0.1, "n_steps": None}, r"^n_steps is None; it must be a whole number$"),
    ],
    ids=["text", "tensor of several", "array of several", "none", "both", "no samples", "half a sample", "None"],
)
def test_a_bad_measurement_is_named_and_moves_nothing(arguments: dict[str, Any], message: str) -> None:
    controller = TargetKLController(0.1, 0.05)
    before = controller.state_dict()
    with pytest.raises(InvalidReportError, match=message):
        controller.update(**arguments)
    assert controller.state_dict() == before and controller.last_decision is None


def test_a_horizon_is_said_to_be_unused(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="maxent_ray.integrations.target_kl"):
        TargetKLController(0.1, 0.05, 10000)
    assert "horizon = 10000 is not used" in caplog.text


# --- what it loads ---


def test_it_works_without_ray_trl_and_transformers() -> None:
    program = """
import sys
for name in ("ray", "trl", "transformers", "accelerate", "pydantic"):
    sys.modules[name] = None  # importing it raises
from maxent_ray.integrations import TargetKLController
from tests.integrations.climbing_policy import ClimbingPolicy
controller = TargetKLController(0.1, 0.05)
controller.update(0.1, 8)
print(controller.value)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0.1


def test_an_unknown_name_is_told_those_there_are() -> None:
    assert "TargetKLController" in maxent_ray.integrations.__all__
    with pytest.raises(AttributeError, match=r"has no attribute 'KLController'; it has .*TargetKLController"):
        maxent_ray.integrations.KLController  # noqa: B018
