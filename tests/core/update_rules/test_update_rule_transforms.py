"""clip, ema, deadband, project, and how a chain composes them."""

from __future__ import annotations

import math
import random

import pytest

from maxent_ray.core.update_rules import (
    Signal,
    UpdateRule,
    chain,
    clip,
    deadband,
    ema,
    project,
    scale_by_confidence,
    sgd,
)
from maxent_ray.core.update_rules.steps import Space


def once(rule: UpdateRule, gradient: float, value: float = 0.1) -> Signal:
    return rule.update(Signal(gradient=gradient, value=value), rule.init(value))[0]


@pytest.mark.parametrize(
    ("gradient", "expected", "events"),
    [
        (0.0, 0.0, ()),
        (0.5, 0.5, ()),
        (-0.5, -0.5, ()),
        (0.50001, 0.5, ("clipped",)),
        (-9.0, -0.5, ("clipped",)),
    ],
)
def test_clip(gradient: float, expected: float, events: tuple[str, ...]) -> None:
    signal = once(clip(0.5), gradient)
    assert (signal.gradient, signal.events) == (expected, events)


@pytest.mark.parametrize(
    ("gradient", "expected", "events"),
    [
        (0.0, 0.0, ("dead_band",)),
        (0.25, 0.0, ("dead_band",)),
        (-0.25, 0.0, ("dead_band",)),
        (0.26, 0.26, ()),
        (-0.26, -0.26, ()),
    ],
)
def test_deadband(gradient: float, expected: float, events: tuple[str, ...]) -> None:
    signal = once(deadband(0.25), gradient)
    assert (signal.gradient, signal.events) == (expected, events)


def test_deadband_with_a_box_is_areals_rule() -> None:
    # AReaL's band [.05, .23] is |H − .14| <= .09, its box [1e-5, 3e-3]: inside the band the weight stays.
    rule = chain(band=deadband(0.09), step=sgd(0.01), box=project(1e-5, 3e-3))
    for entropy in (0.06, 0.14, 0.22):
        signal, _ = rule.update(Signal(gradient=entropy - 0.14, value=1e-3), rule.init(1e-3))
        assert (signal.value, signal.events) == (1e-3, ("dead_band",))
    low, _ = rule.update(Signal(gradient=0.04 - 0.14, value=1e-3), rule.init(1e-3))
    assert low.value == pytest.approx(2e-3)  # 1e-3 + .01·.1
    high, _ = rule.update(Signal(gradient=0.34 - 0.14, value=1e-3), rule.init(1e-3))
    assert (high.value, high.events) == (1e-5, ("projected_low",))  # 1e-3 − .01·.2 < 1e-5


def test_ema_by_hand() -> None:
    # decay .5, gradients 4, 1, −2: m = 2, 1.5, −.25; divided by 1 − .5ᵗ = .5, .75, .875.
    rule, means = ema(0.5), []
    state = rule.init(0.1)
    for gradient in (4.0, 1.0, -2.0):
        signal, state = rule.update(Signal(gradient=gradient, value=0.1), state)
        means.append(signal.gradient)
    assert means == pytest.approx([4.0, 2.0, -0.25 / 0.875], rel=1e-15)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.999])
def test_ema_is_the_normalised_weighted_mean(decay: float) -> None:
    draw = random.Random(2)
    rule, seen = ema(decay), []
    state = rule.init(0.1)
    for _ in range(100):
        seen.append(draw.gauss(0.3, 1.0))
        signal, state = rule.update(Signal(gradient=seen[-1], value=0.1), state)
        weights = [decay ** (len(seen) - 1 - i) for i in range(len(seen))]
        expected = sum(w * g for w, g in zip(weights, seen, strict=True)) / sum(weights)
        assert signal.gradient == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99999])
def test_ema_passes_a_constant_from_the_start(decay: float) -> None:
    rule = ema(decay)
    state = rule.init(0.1)
    for _ in range(50):
        signal, state = rule.update(Signal(gradient=-0.7, value=0.1), state)
        assert signal.gradient == pytest.approx(-0.7, rel=1e-10)


@pytest.mark.parametrize(
    ("value", "expected", "events"),
    [
        (0.2, 0.2, ()),
        (0.1, 0.1, ()),
        (0.5, 0.5, ()),
        (0.0999, 0.1, ("projected_low",)),
        (-3.0, 0.1, ("projected_low",)),
        (7.0, 0.5, ("projected_high",)),
    ],
)
def test_project(value: float, expected: float, events: tuple[str, ...]) -> None:
    signal = once(project(0.1, 0.5), 0.0, value)
    assert (signal.value, signal.events) == (expected, events)


def test_equal_bounds_hold_a_coefficient() -> None:
    assert once(chain(step=sgd(1.0), box=project(0.1, 0.1)), 0.3).value == 0.1


def test_a_chain_is_its_rules_in_keyword_order() -> None:
    clip_first = chain(limit=clip(1.5), smooth=ema(0.5), step=sgd(1.0))
    smooth_first = chain(smooth=ema(0.5), limit=clip(1.5), step=sgd(1.0))
    gradients = []
    for rule in (clip_first, smooth_first):
        state = rule.init(0.1)
        _, state = rule.update(Signal(gradient=2.0, value=0.1), state)
        signal, _ = rule.update(Signal(gradient=1.0, value=0.1), state)
        gradients.append(signal.gradient)
    # Gradients 2, 1. Clip first: m = .75, .875, over .75 = 7/6. Smooth first: m = 1, 1, over .75 = 4/3.
    assert gradients == pytest.approx([7 / 6, 4 / 3], rel=1e-15)


def test_chain_equals_the_rules_by_hand() -> None:
    draw = random.Random(4)
    links = {
        "limit": clip(0.8),
        "smooth": ema(0.7),
        "band": deadband(0.05),
        "step": sgd(0.3, space="log", momentum=0.2),
        "box": project(0.01, 0.5),
    }
    rule = chain(**links)
    state = rule.init(0.1)
    own = {name: link.init(0.1) for name, link in links.items()}
    value = 0.1
    for _ in range(50):
        signal = expected = Signal(gradient=draw.gauss(0, 1), value=value)
        signal, state = rule.update(signal, state)
        for name, link in links.items():
            expected, own[name] = link.update(expected, own[name])
        assert signal == expected
        assert state == {name: part for name, part in own.items() if part}
        value = signal.value


def test_events_come_in_the_order_they_happened() -> None:
    rule = chain(limit=clip(1.0), step=sgd(1.0), box=project(0.05, 1.0))
    assert once(rule, 5.0).events == ("clipped", "projected_low")


def test_names_that_share_a_prefix_keep_their_own_state() -> None:
    rule = chain(a=chain(smooth=ema(0.5)), a_b=ema(0.9), step=sgd(0.1))  # the inner chain checks its keys
    signal, state = rule.update(Signal(gradient=1.0, value=0.1), rule.init(0.1))
    assert state["a"]["smooth"]["mean"] == pytest.approx(0.5)
    assert state["a_b"]["mean"] == pytest.approx(0.1)
    assert signal.gradient == pytest.approx(1.0)


def test_chains_nest() -> None:
    nested = chain(shape=chain(limit=clip(1.0), smooth=ema(0.5)), step=sgd(0.1))
    flat = chain(limit=clip(1.0), smooth=ema(0.5), step=sgd(0.1))
    assert nested.init(0.1) == {"shape": {"smooth": {"mean": 0.0, "updates": 0.0}}, "step": {"velocity": 0.0}}
    nested_state, flat_state = nested.init(0.1), flat.init(0.1)
    for gradient in (3.0, -0.4, 0.1):
        signal = Signal(gradient=gradient, value=0.1)
        through_nested, nested_state = nested.update(signal, nested_state)
        through_flat, flat_state = flat.update(signal, flat_state)
        assert through_nested == through_flat


def test_the_given_state_is_never_changed() -> None:
    rule = chain(smooth=ema(0.5), step=sgd(0.1, momentum=0.9))
    state = rule.init(0.1)
    before = dict(state)
    rule.update(Signal(gradient=1.0, value=0.1), state)
    assert state == before


@pytest.mark.parametrize("confidence", [-0.5, 0.0, 0.25, 1.0])
@pytest.mark.parametrize("space", ["linear", "log"])
def test_a_step_is_scaled_in_its_own_space_and_the_memory_is_not(space: Space, confidence: float) -> None:
    rule = scale_by_confidence(sgd(0.1, space=space, momentum=0.5), space)
    signal, state = rule.update(Signal(gradient=-2.0, value=0.3, confidence=confidence), rule.init(0.3))
    expected = 0.3 + 0.2 * confidence if space == "linear" else 0.3 * math.exp(0.2 * confidence)
    assert signal.value == pytest.approx(expected)
    assert state == {"velocity": -2.0}
