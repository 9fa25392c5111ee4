"""What every rule owes: a state that JSON carries, finite numbers only, checked arguments, an example."""

from __future__ import annotations

import copy
import doctest
import importlib
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType

import pytest

from maxent_ray.core import update_rules
from maxent_ray.core.update_rules import (
    RuleState,
    Signal,
    UpdateRule,
    adam,
    adaptive_kl,
    adaptive_pi,
    anti_windup,
    chain,
    clip,
    deadband,
    ema,
    entropy_step,
    newton,
    project,
    proportional_integral,
    rising_pi,
    sac_alpha,
    scale_by_confidence,
    sgd,
    threshold_kl,
)
from maxent_ray.core.update_rules.base import has_keys_of
from maxent_ray.core.update_rules.loop import Gains
from maxent_ray.errors import ConfigError, InvalidReportError

RULES: dict[str, UpdateRule] = {
    "adam": adam(0.01),
    "adam_log": adam(0.01, space="log"),
    "adaptive_kl": adaptive_kl(100),
    "adaptive_pi": adaptive_pi(),
    "clip": clip(0.3),
    "deadband": deadband(0.1),
    "ema": ema(0.9),
    "entropy_step": entropy_step(0.005),
    "newton": newton(0.1),
    "newton_log": newton(0.1, space="log"),
    "project": project(0.01, 1.0),
    "proportional_integral": proportional_integral(0.5, 0.1),
    "rising_pi": rising_pi(Gains(0.1, 2.0)),
    "sac_alpha": sac_alpha(0.01),
    "scale_by_confidence": scale_by_confidence(sgd(0.01, momentum=0.9, space="log"), "log"),
    "sgd": sgd(0.01, momentum=0.9),
    "sgd_log": sgd(0.01, momentum=0.9, space="log"),
    "threshold_kl": threshold_kl(),
}
RULES["chain"] = chain(
    limit=clip(0.3), smooth=ema(0.9), band=deadband(0.01), step=adam(0.1, space="log"), box=project(0.01, 1.0)
)
RULES["anti_windup"] = anti_windup(RULES["chain"])


def random_signal(draw: random.Random, value: float) -> Signal:
    return Signal(
        gradient=draw.gauss(0, 1),
        value=value,
        curvature=draw.uniform(0, 2),
        measured=draw.uniform(0, 1),
        target=draw.uniform(0.1, 1),
        count=draw.randint(1, 20),
    )


def test_every_factory_is_under_contract() -> None:
    factories = {name for name in update_rules.__all__ if isinstance(vars(update_rules)[name], FunctionType)}
    assert factories <= set(RULES)
    order = sorted(update_rules.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert update_rules.__all__ == order  # constants, classes, functions


@pytest.mark.parametrize("name", RULES)
def test_saved_and_loaded_the_next_step_is_identical(name: str) -> None:
    rule, draw = RULES[name], random.Random(1)
    state, value = rule.init(0.1), 0.1
    for _ in range(25):
        signal = random_signal(draw, value)
        loaded = json.loads(json.dumps(dict(state), allow_nan=False))
        assert rule.update(signal, loaded) == rule.update(signal, state)
        moved, state = rule.update(signal, state)
        value = max(moved.value, 1e-3)  # keeps the unbounded linear rules where log-space ones may follow


@pytest.mark.parametrize("name", ["adam", "ema", "sgd", "proportional_integral", "sac_alpha", "chain"])
def test_a_lost_state_would_show(name: str) -> None:
    # The reason to save it: a rule with memory that starts afresh takes another step.
    rule, draw = RULES[name], random.Random(1)
    state = rule.init(0.1)
    for _ in range(5):
        _, state = rule.update(random_signal(draw, 0.1), state)
    signal = random_signal(draw, 0.1)
    assert rule.update(signal, state)[0] != rule.update(signal, rule.init(0.1))[0]


def numbers(state: RuleState) -> Iterator[object]:
    for entry in state.values():
        yield from numbers(entry) if isinstance(entry, Mapping) else (entry,)


@pytest.mark.parametrize("name", RULES)
def test_a_rules_state_keeps_its_keys(name: str) -> None:
    rule, draw = RULES[name], random.Random(2)
    state = rule.init(0.1)
    for _ in range(3):
        _, following = rule.update(random_signal(draw, 0.1), state)
        assert has_keys_of(following, state) and has_keys_of(state, following)
        assert all(isinstance(number, float) and math.isfinite(number) for number in numbers(following))
        state = following


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_number_is_named_and_goes_no_further(name: str, bad: float) -> None:
    rule = chain(rule=RULES[name])  # which checks, once
    state = rule.init(0.1)
    before = copy.deepcopy(state)
    good = random_signal(random.Random(3), 0.1)
    with pytest.raises(InvalidReportError, match=f"gradient is {bad}"):
        rule.update(Signal(**{**vars(good), "gradient": bad}), state)
    with pytest.raises(InvalidReportError, match=f"value is {bad}"):
        rule.update(Signal(**{**vars(good), "value": bad}), state)
    assert state == before


def test_a_state_that_would_overflow_is_refused() -> None:
    rule = chain(step=adam(0.1))  # g² leaves the floats
    with pytest.raises(InvalidReportError, match=r"next step\.second_moment is inf.*gradient 1e\+200"):
        rule.update(Signal(gradient=1e200, value=0.1), rule.init(0.1))
    with pytest.raises(InvalidReportError, match="next value is inf"):
        chain(step=threshold_kl()).update(Signal(gradient=0.0, value=1.5e308, measured=1.0, target=0.1), {})


@pytest.mark.parametrize(
    ("state", "named"),
    [
        ({}, "velocity"),
        ({"step": {"velocity": 0.0}, "smooth": {"mean": 0.0}}, "smooth"),
        ({"other": {"velocity": 0.0}}, "other"),
        ({"step": {"momentum": 0.0}}, "momentum"),
        ({"step.velocity": 0.0}, "step.velocity"),
    ],
)
def test_a_chain_refuses_the_state_of_another(state: RuleState, named: str) -> None:
    rule = chain(step=sgd(0.1), box=project(0.0, 1.0))
    with pytest.raises(ConfigError, match=f"the chain's state .*{named}"):
        rule.update(Signal(gradient=0.1, value=0.1), state)


BAD_ARGUMENTS: list[tuple[Callable[[], UpdateRule], str]] = [
    (lambda: chain(), "rules is {}"),
    (lambda: clip(0.0), "limit is 0.0"),
    (lambda: clip(-1.0), "limit is -1.0"),
    (lambda: clip(math.nan), "limit is nan"),
    (lambda: ema(1.0), "decay is 1.0"),
    (lambda: ema(-0.1), "decay is -0.1"),
    (lambda: deadband(-0.1), "width is -0.1"),
    (lambda: deadband(math.inf), "width is inf"),
    (lambda: project(0.2, 0.1), "low is 0.2, must be at most high, which is 0.1"),
    (lambda: project(-math.inf, 0.1), "low is -inf"),
    (lambda: project(0.0, math.inf), "high is inf"),
    (lambda: project(0.0, math.nan), "high is nan"),
    (lambda: sgd(0.0), "learning_rate is 0.0"),
    (lambda: sgd(-0.1), "learning_rate is -0.1"),
    (lambda: sgd(math.nan), "learning_rate is nan"),
    (lambda: sgd(math.inf), "learning_rate is inf"),
    (lambda: sgd(0.1, momentum=1.0), "momentum is 1.0"),
    (lambda: sgd(0.1, space="exp"), "space is 'exp', must be one of linear, log"),
    (lambda: adam(0.0), "learning_rate is 0.0"),
    (lambda: adam(0.1, betas=(1.0, 0.9)), r"betas\[0\] is 1.0"),
    (lambda: adam(0.1, betas=(0.9, -0.1)), r"betas\[1\] is -0.1"),
    (lambda: adam(0.1, eps=0.0), "eps is 0.0"),
    (lambda: adam(0.1, space="LOG"), "space is 'LOG'"),
    (lambda: newton(0.0), "damping is 0.0"),
    (lambda: newton(0.1, learning_rate=-1.0), "learning_rate is -1.0"),
    (lambda: newton(0.1, max_step=0.0), "max_step is 0.0"),
    (lambda: newton(0.1, space="ln"), "space is 'ln'"),
    (lambda: proportional_integral(-0.1, 0.1), "proportional is -0.1"),
    (lambda: proportional_integral(0.1, 0.0), "integral is 0.0"),
    (lambda: proportional_integral(0.1, 0.1, space="ln"), "space is 'ln'"),
    (lambda: adaptive_kl(0), "horizon is 0"),
    (lambda: adaptive_kl(-100), "horizon is -100"),
    (lambda: adaptive_kl(100, error_clip=0.0), "error_clip is 0.0"),
    (lambda: threshold_kl(high=0.4, low=0.5), "low is 0.5"),
    (lambda: threshold_kl(high=0.0, low=0.0), "high is 0.0"),
    (lambda: threshold_kl(up=1.0), "up is 1.0"),
    (lambda: threshold_kl(down=1.0), "down is 1.0"),
    (lambda: threshold_kl(down=0.0), "down is 0.0"),
    (lambda: entropy_step(0.0), "delta is 0.0"),
    (lambda: entropy_step(0.1, low=1.0, high=0.5), "low is 1.0"),
    (lambda: sac_alpha(0.0), "learning_rate is 0.0"),
    (lambda: sac_alpha(0.1, betas=(0.9, 1.0)), r"betas\[1\] is 1.0"),
    (lambda: sac_alpha(0.1, eps=-1.0), "eps is -1.0"),
]


@pytest.mark.parametrize(
    ("build", "message"),
    BAD_ARGUMENTS,
    ids=[f"{i}-{message}" for i, (_, message) in enumerate(BAD_ARGUMENTS)],
)
def test_a_bad_argument_is_named_with_its_value(build: Callable[[], UpdateRule], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


def test_every_public_example_runs() -> None:
    modules = [
        importlib.import_module(f"maxent_ray.core.update_rules{part}")
        for part in (
            *("", ".adaptive", ".anti_windup", ".base", ".baselines", ".custom_rule", ".error_rules"),
            *(".identification", ".measured_rules", ".rising", ".settings", ".steps", ".transforms"),
        )
    ]
    for module in modules:
        results = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        assert results.attempted > 0
        assert results.failed == 0
    found = [test for module in modules for test in doctest.DocTestFinder().find(module) if test.examples]
    with_example = {test.name.rsplit(".", 1)[-1] for test in found}
    exported = {name: vars(update_rules)[name] for name in update_rules.__all__}
    public = {name for name, thing in exported.items() if isinstance(thing, FunctionType | type)}
    assert public <= with_example
