"""Settings of the weightings, and what a controller takes from them: τ's range, and the signals that there are."""

from __future__ import annotations

from typing import Any

import pytest

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.controller import Controller
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.core.update_rules import PI
from maxent_ray.core.weightings import (
    EntropicWeighting,
    GRPOWeighting,
    ListwiseWeighting,
    MaxEntWeighting,
    PassAtKWeighting,
    RepoRWeighting,
    UCPOWeighting,
    UnlikelinessWeighting,
    Weighting,
)
from maxent_ray.errors import ConfigError

PUBLISHED = {
    MaxEntWeighting(): (0.3, (1e-3, 100.0)),
    ListwiseWeighting(): (0.05, (1e-3, 100.0)),
    UCPOWeighting(): (0.2, (1e-3, 1.0)),
    UnlikelinessWeighting(): (0.25, (1e-3, 1.0)),
    EntropicWeighting(): (1.0, (1e-3, 2.0)),
    RepoRWeighting(): (0.01, (1e-6, 100.0)),
}
"""Weighting → initial τ and bounds, where settings name none."""
POLICY_ENTROPY: dict[str, Any] = {"entropy_signal": "policy_entropy", "target_entropy": 0.8}


def named(weighting: Weighting) -> str:
    return weighting.type


@pytest.mark.parametrize("weighting", PUBLISHED, ids=named)
def test_tau_starts_at_the_published_value_and_stays_where_the_formula_has_a_meaning(weighting: Weighting) -> None:
    settings = ControllerConfig(group_size=8, weighting=weighting)
    assert (settings.initial("tau"), settings.bounds("tau")) == PUBLISHED[weighting]
    given = ControllerConfig(group_size=8, weighting=weighting, tau=0.5, tau_min=0.1, tau_max=0.9)
    assert (given.initial("tau"), given.bounds("tau")) == (0.5, (0.1, 0.9))


@pytest.mark.parametrize(
    ("weighting", "most"),
    [(UCPOWeighting(), 1), (UnlikelinessWeighting(), 1), (EntropicWeighting(), 2)],
    ids=["ucpo", "unlikeliness", "entropic"],
)
@pytest.mark.parametrize("name", ["tau", "tau_min", "tau_max"])
def test_a_tau_outside_the_formulas_range_is_an_error(weighting: Weighting, most: int, name: str) -> None:
    message = rf"{name} is 2.5; it must be in \[0, {most}\], the range of weighting '{weighting.type}'"
    with pytest.raises(ConfigError, match=message):
        ControllerConfig(group_size=8, weighting=weighting, **{name: 2.5})


def test_a_controller_drives_the_coefficient_of_another_weighting_between_its_bounds() -> None:
    """Too little entropy raises EntroPIC's τ from 1 to its bound of 2, linearly, and no further."""
    settings = ControllerConfig(
        group_size=8, weighting=EntropicWeighting(), **POLICY_ENTROPY, tau_min=0.0, tau_rule=PI(space="linear")
    )
    controller = Controller(settings)
    state, too_low = controller.init(), BatchStatistics(groups=1, tokens=10, policy_entropy_sum=2.0)
    taus = [state.tau]
    for _ in range(40):
        state, _ = controller.step(state, too_low)
        taus.append(state.tau)
    assert taus[0] == 1.0
    assert taus == sorted(taus)
    assert taus[-1] == 2.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"weighting": GRPOWeighting(), "target_entropy": 1.5},
            "target_entropy is 1.5, and weighting.type is 'grpo', which has no coefficient for τ to be; set it to "
            "null, or choose another weighting: maxent, listwise, ucpo, unlikeliness, entropic, repo_r",
        ),
        (
            {"weighting": PassAtKWeighting(), "target_entropy_fraction": 0.8},
            "target_entropy_fraction is 0.8, and weighting.type is 'pass_at_k', which has no coefficient",
        ),
        (
            {"weighting": UCPOWeighting(), "target_entropy": 1.5},
            "entropy_signal is 'weight_entropy', and the answers of weighting 'ucpo' have no weights; choose "
            "policy_entropy with a target_entropy in nats per token",
        ),
        (
            {"weighting": MaxEntWeighting(reference="loss"), "kl_signal": "weight_kl"},
            "kl_signal is 'weight_kl', and weighting.reference is 'loss': no reference is in the weights; choose "
            "policy_kl, or weighting.type maxent with weighting.reference weights_and_loss",
        ),
        (
            {"weighting": ListwiseWeighting(), "kl_signal": "weight_kl"},
            "kl_signal is 'weight_kl', and weighting.type is 'listwise': no reference is in the weights",
        ),
        ({"weighting": PassAtKWeighting(k=9)}, "weighting.k is 9; it must be at most 8, the answers of a group"),
        ({"weighting": PassAtKWeighting(k=0)}, "weighting.k is 0; it must be a whole number >= 1"),
        ({"weighting": MaxEntWeighting(q_temperature=0.0)}, "weighting.q_temperature is 0.0; it must be > 0"),
        ({"weighting": MaxEntWeighting(q_epsilon=1.0)}, "weighting.q_epsilon is 1.0; it must be in [0, 1)"),
        (
            {"weighting": MaxEntWeighting(reference="nowhere")},  # type: ignore[arg-type]
            "weighting.reference is 'nowhere'; it must be weights_and_loss or loss",
        ),
        (
            {"weighting": GRPOWeighting(normalization="max")},  # type: ignore[arg-type]
            "weighting.normalization is 'max'; it must be std or none",
        ),
        ({"weighting": "grpo"}, "weighting is 'grpo'; valid: MaxEntWeighting(), GRPOWeighting()"),
        (
            {"weighting": UCPOWeighting(), **POLICY_ENTROPY, "tau_min": 0.0},
            "tau_rule.space is log; it must be linear while tau_min = 0",
        ),
        ({"weighting": UCPOWeighting(), "tau_min": -0.1}, "tau_min is -0.1; it must be >= 0"),
        ({"weighting": MaxEntWeighting(), "tau_min": 0.0}, "tau_min is 0.0; it must be > 0"),
    ],
)
def test_what_does_not_fit_a_weighting_is_an_error_that_says_what_to_choose(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ControllerConfig(group_size=8, **settings)
    assert message in str(caught.value)


@pytest.mark.parametrize("weighting", [GRPOWeighting(), PassAtKWeighting(), UCPOWeighting()], ids=named)
def test_without_a_target_for_tau_any_weighting_has_its_kl_controlled(weighting: Weighting) -> None:
    settings = ControllerConfig(group_size=8, weighting=weighting, target_kl=0.1)
    assert settings.moves("beta") and not settings.moves("tau")
    kl_too_high = BatchStatistics(groups=1, tokens=10, policy_kl_sum=2.0)
    controller = Controller(settings)
    state, decision = controller.step(controller.init(), kl_too_high)
    assert state.beta > 0.1
    assert state.tau == settings.initial("tau")
    assert decision.entropy is None


def test_settings_survive_plain_values() -> None:
    settings = ControllerConfig(group_size=8, weighting=MaxEntWeighting(reference="loss", q_temperature=0.5))
    assert ControllerConfig.from_dict(settings.to_dict()) == settings
