"""The rules of other systems: their golden values, worked out beside them, and their signs."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from maxent_ray.core.update_rules import (
    Signal,
    UpdateRule,
    adaptive_kl,
    chain,
    entropy_step,
    project,
    sac_alpha,
    threshold_kl,
)


def tracked(rule: UpdateRule, value: float, measured: float, target: float, count: int = 1) -> Signal:
    signal = Signal(gradient=0.0, value=value, measured=measured, target=target, count=count)
    return rule.update(signal, rule.init(value))[0]


@pytest.mark.parametrize(
    ("value", "kl", "expected", "events"),
    [
        (0.2, 0.2, 0.204, ("clipped",)),  # KL/KL* − 1 = 1, cut to .2: .2·(1 + .2·10/100)
        (0.1, 0.2, 0.102, ("clipped",)),  # .1·1.02
        (0.2, 0.0, 0.196, ("clipped",)),  # cut to −.2: .2·(1 − .02)
        (0.2, 0.11, 0.202, ()),  # error .1, not cut: .2·(1 + .1·.1)
        (0.2, 0.1, 0.2, ()),  # on target
        (0.0, 0.2, 0.0, ("clipped",)),  # a factor cannot move 0
    ],
)
def test_adaptive_kl(value: float, kl: float, expected: float, events: tuple[str, ...]) -> None:
    signal = tracked(adaptive_kl(100), value, kl, 0.1, count=10)
    assert signal.value == pytest.approx(expected, rel=1e-14, abs=1e-15)
    assert signal.events == events


def test_adaptive_kl_refuses_a_factor_that_is_not_positive() -> None:
    # error_clip .2: at n = 5·horizon the factor could be 1 − .2·5 = 0
    assert tracked(adaptive_kl(100), 0.2, 0.0, 0.1, count=499).value == pytest.approx(0.2 * 0.002)
    for count in (500, 0, -1):
        with pytest.raises(ValueError, match=f"count is {count}"):
            tracked(adaptive_kl(100), 0.2, 0.0, 0.1, count=count)


@pytest.mark.parametrize(
    ("multiple", "factor"),
    [(2.01, 1.5), (2.0, 1.0), (1.0, 1.0), (0.5, 1.0), (0.49, 0.5), (0.0, 0.5)],
)
def test_threshold_kl_with_rllibs_numbers(multiple: float, factor: float) -> None:
    signal = tracked(threshold_kl(), 0.2, multiple * 0.25, 0.25)  # .25: the multiples stay exact
    assert signal.value == 0.2 * factor


@pytest.mark.parametrize(("multiple", "factor"), [(1.51, 2.0), (1.5, 1.0), (0.67, 1.0), (0.66, 0.5)])
def test_threshold_kl_with_torchrls_numbers(multiple: float, factor: float) -> None:
    rule = threshold_kl(high=1.5, low=1 / 1.5, up=2.0, down=0.5)
    assert tracked(rule, 0.2, multiple * 0.25, 0.25).value == 0.2 * factor


def test_threshold_kl_is_bounded_by_a_projection() -> None:
    rule = chain(step=threshold_kl(), box=project(1e-4, 10.0))
    value = 0.2
    for _ in range(100):  # .2·1.5ⁿ passes 10 at n = 10; alone it would be 8e16
        signal = tracked(rule, value, 1.0, 0.1)
        value = signal.value
    assert (value, signal.events) == (10.0, ("projected_high",))


def test_entropy_step_is_trls_ramp() -> None:
    # TRL: δ = .005, H* = .2, box [0, 1]; with H always low the weight is min(.01 + .005·steps, 1).
    rule, value = entropy_step(0.005), 0.01
    for step in range(1, 251):
        signal = tracked(rule, value, 0.1, 0.2)
        value = signal.value
        assert value == pytest.approx(min(0.01 + 0.005 * step, 1.0), abs=1e-12)
    assert signal.events == ("projected_high",)


def test_entropy_step_on_target_rises_and_above_it_falls() -> None:
    rule = entropy_step(1e-4, high=0.005)  # Skywork's numbers
    assert tracked(rule, 1e-3, 0.2, 0.2).value == pytest.approx(1.1e-3)
    assert tracked(rule, 1e-3, 0.2000001, 0.2).value == pytest.approx(0.9e-3)
    assert tracked(rule, 0.00495, 0.1, 0.2).value == 0.005
    floor = tracked(rule, 5e-5, 0.3, 0.2)
    assert (floor.value, floor.events) == (0.0, ("projected_low",))


def test_sac_alpha_is_torch_adam_on_sacs_own_loss() -> None:
    # Oracle: torch differentiates −log α·(log π + H*), averaged over a batch of log π, and steps log α.
    draw = torch.Generator().manual_seed(0)
    target, rule = 0.8, sac_alpha(0.01)
    log_alpha = torch.tensor(0.1, dtype=torch.float64).log().requires_grad_()
    optimiser = torch.optim.Adam([log_alpha], lr=0.01)
    value, state = 0.1, rule.init(0.1)
    for _ in range(100):
        log_pi = -torch.rand(16, generator=draw, dtype=torch.float64) * 2
        optimiser.zero_grad()
        (-log_alpha * (log_pi + target)).mean().backward()
        optimiser.step()
        signal = Signal(gradient=123.0, value=value, measured=-log_pi.mean().item(), target=target)
        moved, state = rule.update(signal, state)
        value = moved.value
        assert value == pytest.approx(log_alpha.exp().item(), rel=1e-11)


def test_sac_alpha_takes_a_negative_target() -> None:
    assert tracked(sac_alpha(0.1), 0.2, -2.0, -3.0).value == pytest.approx(0.2 * 2.718281828459045**-0.1)


@pytest.mark.parametrize("rule", [adaptive_kl(100), threshold_kl()], ids=["adaptive_kl", "threshold_kl"])
def test_a_kl_coefficient_rises_when_kl_is_high(rule: UpdateRule) -> None:
    assert tracked(rule, 0.2, 0.5, 0.1).value > 0.2
    assert tracked(rule, 0.2, 0.01, 0.1).value < 0.2


@pytest.mark.parametrize("rule", [entropy_step(0.01), sac_alpha(0.01)], ids=["entropy_step", "sac_alpha"])
def test_an_entropy_weight_rises_when_entropy_is_low(rule: UpdateRule) -> None:
    draw = random.Random(7)
    for _ in range(50):
        entropy, target = draw.uniform(0.01, 2), draw.uniform(0.01, 2)
        value = tracked(rule, 0.3, entropy, target).value
        assert (value > 0.3) == (entropy <= target)


BASELINES: dict[str, Callable[[], UpdateRule]] = {
    "adaptive_kl": lambda: adaptive_kl(100),
    "threshold_kl": threshold_kl,
    "entropy_step": lambda: entropy_step(0.01),
    "sac_alpha": lambda: sac_alpha(0.01),
}


@pytest.mark.parametrize("name", BASELINES)
def test_a_missing_quantity_is_named(name: str) -> None:
    rule = BASELINES[name]()
    state = rule.init(0.2)
    with pytest.raises(ValueError, match=f"{name}: measured is None"):
        rule.update(Signal(gradient=0.0, value=0.2, target=0.1), state)
    with pytest.raises(ValueError, match=f"{name}: target is None"):
        rule.update(Signal(gradient=0.0, value=0.2, measured=0.1), state)
    with pytest.raises(ValueError, match=f"{name}: measured is nan"):
        rule.update(Signal(gradient=0.0, value=0.2, measured=float("nan"), target=0.1), state)
    with pytest.raises(ValueError, match=f"{name}: target is inf"):
        rule.update(Signal(gradient=0.0, value=0.2, measured=0.1, target=float("inf")), state)


@pytest.mark.parametrize("name", ["adaptive_kl", "threshold_kl"])
@pytest.mark.parametrize("target", [0.0, -0.1])
def test_a_target_kl_must_be_positive(name: str, target: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: target is {target}"):
        tracked(BASELINES[name](), 0.2, 0.1, target)
