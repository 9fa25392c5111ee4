"""The worker's unrolls: modes, the automatic choice, and going on when memory runs out or numbers are not finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

import pytest
import torch
from torch import nn

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives import Sensitivity, TruncatedBackprop, Unroll
from maxent_ray.errors import ConfigError
from maxent_ray.train.memory import activation_bytes, free_bytes, is_out_of_memory
from maxent_ray.train.unroll.sensitivity import unroll_sensitivity
from tests.train.tiny import start, tiny_config, trained
from tests.train.unroll.unroll_problem import (
    CONTROLLER,
    GRPO,
    TooLarge,
    UnrollProblem,
    copied,
    unroll,
    unroll_problem,
)

BACKPROP: dict[str, Any] = {
    "controller.objective.type": "truncated_backprop",
    "controller.objective.unroll.steps": 2,
    "controller.objective.unroll.groups": 2,
    "runtime.lag": 0,
}


@pytest.fixture(scope="module")
def problem() -> UnrollProblem:
    return unroll_problem()


def sensitivity(problem: UnrollProblem, **settings: Any) -> Sensitivity:
    gradients = problem.compute(problem.hypergradients(**settings))
    assert gradients is not None
    assert gradients.sensitivity is not None
    return gradients.sensitivity


# --- modes ---


@pytest.mark.parametrize(
    "settings", [{"mode": "forward"}, {"checkpoint": True}, {"mode": "auto"}]
)
def test_exact_modes_agree(problem: UnrollProblem, settings: dict[str, Any]) -> None:
    assert astuple(sensitivity(problem, **settings)) == pytest.approx(astuple(sensitivity(problem)), rel=1e-9)


def test_first_order_differs_in_what_goes_through_the_second_step(problem: UnrollProblem) -> None:
    exact, first = sensitivity(problem), sensitivity(problem, mode="first_order")
    assert (first.entropy, first.kl) == pytest.approx((exact.entropy, exact.kl), rel=1e-9)
    assert (first.entropy_tau, first.entropy_beta) == pytest.approx((exact.entropy_tau, exact.entropy_beta), rel=1e-9)
    ratio = first.kl_beta / exact.kl_beta  # of the same sign and size, on sixteen answers whose KL is .007 nats
    assert abs(ratio - 1) > 0.01
    assert 1 / 3 < ratio < 3


def test_first_order_is_exact_for_one_step(problem: UnrollProblem) -> None:
    def one_step(**settings: Any) -> Sensitivity:
        return unroll_sensitivity(
            problem.model,
            problem.batch,
            problem.statistics,
            problem.coefficients,
            rates=problem.rates,
            share=0.1,
            grpo=GRPO,
            controller=CONTROLLER,
            settings=unroll(steps=1, **settings),
        )

    first = one_step(mode="first_order")
    assert astuple(first) == pytest.approx(astuple(one_step()), rel=1e-7)  # fused against written-out attention
    with pytest.raises(ConfigError, match="must be resolved"):
        one_step(mode="auto")


def test_frozen_parameters_stay_out_of_the_unroll(problem: UnrollProblem) -> None:
    frozen = copied(problem)
    name, parameter = next(iter(frozen.model.named_parameters()))
    parameter.requires_grad_(False)
    still = problem._replace(rates={**problem.rates, name: torch.zeros_like(problem.rates[name])})
    assert astuple(sensitivity(frozen)) == pytest.approx(astuple(sensitivity(still)), rel=1e-9)
    assert sensitivity(frozen) != sensitivity(problem)


def rows(overrides: dict[str, Any]) -> list[dict[str, Any]]:
    return trained(start(tiny_config({**BACKPROP, **overrides})).run(3))


def test_a_worker_trains_with_any_mode() -> None:
    """Exact modes give the same coefficients to rounding, first order gives others."""
    reverse, forward, checkpointed, first = (
        rows(overrides)[-1]
        for overrides in (
            {},
            {"controller.objective.unroll.mode": "forward"},
            {"controller.objective.unroll.checkpoint": True},
            {"controller.objective.unroll.mode": "first_order"},
        )
    )
    for row in (forward, checkpointed):
        assert (row["tau"], row["beta"]) == pytest.approx((reverse["tau"], reverse["beta"]), rel=1e-4)
    assert math.isfinite(first["beta"])
    assert first["beta"] != reverse["beta"]


def test_first_order_runs_in_the_workers_own_precision_and_attention() -> None:
    """bfloat16 forwards: exact modes leave them for the unroll, first order stays in them, with fused attention."""
    seen: set[tuple[bool, bool]] = set()

    def before(model: nn.Module, args: object) -> None:
        if torch.is_grad_enabled() and not all(isinstance(value, nn.Parameter) for value in model.parameters()):
            seen.add((torch.is_autocast_enabled("cpu"), torch.backends.cuda.flash_sdp_enabled()))

    for mode, expected in (("first_order", (True, True)), ("reverse", (False, False))):
        seen.clear()
        process = start(tiny_config({**BACKPROP, "policy.dtype": "bfloat16", "controller.objective.unroll.mode": mode}))
        process.worker.policy.model.register_forward_pre_hook(before)
        process.run(1)
        assert seen == {expected}


# --- auto ---


def test_auto_says_once_what_it_chose_and_why(problem: UnrollProblem, caplog: pytest.LogCaptureFixture) -> None:
    hypergradients = problem.hypergradients(mode="auto")
    with caplog.at_level(logging.INFO, "maxent_ray.train.unroll.hypergradients"):
        for _ in range(3):
            assert problem.compute(hypergradients) is not None
    (record,) = caplog.records
    assert "step 7: hypergradient mode reverse: reverse with K=2 needs about" in record.getMessage()


def test_auto_takes_the_smaller_mode_after_running_out(
    problem: UnrollProblem, caplog: pytest.LogCaptureFixture
) -> None:
    tight = copied(problem)
    hypergradients, hook = tight.hypergradients(mode="auto"), TooLarge(tight.model)
    failed = [tight.compute(hypergradients) is None for _ in range(4)]
    hook.remove()
    assert failed == [True] * 4
    assert hypergradients.failures == 4
    advice = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "mode reverse, K=2" in advice[0]
    assert "From here on: reverse with checkpoints" in advice[0]
    assert "From here on: first_order" in advice[1]
    assert astuple(tight.compute(hypergradients).sensitivity) == pytest.approx(
        astuple(sensitivity(problem, mode="first_order")), rel=1e-9
    )


# --- out of memory ---


@pytest.fixture
def tight(problem: UnrollProblem) -> Iterator[UnrollProblem]:
    """Its second forward pass in an unroll asks for too much."""
    own = copied(problem)
    hook = TooLarge(own.model, passes=1)
    yield own
    hook.remove()


@pytest.mark.parametrize(
    ("settings", "ran", "instead"),
    [
        ({}, "mode reverse, K=2", "controller.objective.unroll.checkpoint=true with K=2"),
        ({"checkpoint": True}, "mode reverse with checkpoints, K=2", "mode=first_order"),
        ({"mode": "forward"}, "mode forward, K=2", "controller.objective.unroll.mode=first_order with K=2"),
        ({"mode": "first_order"}, "mode first_order, K=2", "No mode needs less memory, whatever K is;"),
    ],
)
def test_running_out_of_memory_is_reported_with_what_to_choose(
    tight: UnrollProblem, settings: dict[str, Any], ran: str, instead: str, caplog: pytest.LogCaptureFixture
) -> None:
    hypergradients = tight.hypergradients(**settings)
    assert tight.compute(hypergradients) is None
    assert tight.compute(hypergradients) is None
    assert hypergradients.failures == 2
    (record,) = caplog.records  # once for each kind
    message = record.getMessage()
    assert "step 7: out of memory" in message
    assert ran in message
    assert instead in message


def test_other_errors_are_not_taken_for_it(problem: UnrollProblem) -> None:
    own = copied(problem)
    own.model.register_forward_pre_hook(lambda model, args: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        own.compute(own.hypergradients())


def test_training_goes_on_without_the_gradients_of_that_step() -> None:
    process = start(tiny_config(BACKPROP))
    process.run(1)
    hook = TooLarge(process.worker.policy.model)
    process.run(2)
    hook.remove()
    done = process.run(1)
    assert [row.failed_unrolls for row in done] == [2]
    reasons = [decision["reason"] for decision in process.decisions()]
    assert reasons[1:3] == ["no_gradient"] * 2
    assert {reasons[0], reasons[3]} <= {"updated", "clipped"}


# --- not finite ---


def test_an_unroll_that_is_not_finite_is_skipped_with_its_reason_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    process = start(tiny_config(BACKPROP))
    model = process.worker.policy.model

    def spoil(module: nn.Module, args: object, output: Any) -> None:
        if not all(isinstance(value, nn.Parameter) for value in model.parameters()):
            output.last_hidden_state.mul_(float("nan"))

    process.run(1)
    before = process.worker.client.coefficients(1)
    hook = model.base_model.register_forward_hook(spoil)
    process.run(2)
    hook.remove()
    after = process.worker.client.coefficients(3)
    assert (after.tau, after.beta) == (before.tau, before.beta)
    last = process.run(1)[-1]
    assert [decision["reason"] for decision in process.decisions()][1:3] == ["non_finite"] * 2
    assert last.failed_unrolls == 0
    assert [record.getMessage() for record in caplog.records if "not finite" in record.getMessage()] == [
        "step 1: the unroll is not finite; the update is skipped"
    ]


# --- what memory there is ---


def test_what_a_loss_keeps_is_counted_without_the_parameters() -> None:
    weight = torch.ones(10, 10, requires_grad=True)
    inputs = torch.ones(5, 10)

    def loss() -> torch.Tensor:
        hidden = inputs @ weight  # keeps the inputs and the weight
        return (hidden.sigmoid() + hidden.sigmoid()).sum()  # each keeps its output, not the sum

    assert activation_bytes(loss, [weight]) == 4 * (5 * 10 + 2 * 5 * 10)


def test_free_memory_is_what_the_system_says() -> None:
    assert 2**20 < free_bytes(torch.device("cpu")) < 2**50


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_errors_that_say_so(error: RuntimeError | MemoryError, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


# --- settings ---


@pytest.mark.parametrize("mode", ["forward", "first_order", "auto"])
def test_checkpoints_belong_to_reverse(mode: str) -> None:
    with pytest.raises(ValueError, match=f"objective.unroll.checkpoint is true and objective.unroll.mode is '{mode}'"):
        ControllerConfig(objective=TruncatedBackprop(unroll=Unroll(checkpoint=True, mode=mode)))  # type: ignore[arg-type]
