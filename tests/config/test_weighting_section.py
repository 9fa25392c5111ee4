"""The ``weighting`` section of an experiment: spellings, defaults and messages."""

from __future__ import annotations

import pytest

from maxent_ray.config.loading import apply_overrides, build_config, load_config
from maxent_ray.core.weightings import GRPOWeighting, MaxEntWeighting, PassAtKWeighting, Weighting
from maxent_ray.core.weightings.base import WeightingBase
from maxent_ray.errors import ConfigError

TYPES = ("maxent", "grpo", "listwise", "pass_at_k", "ucpo", "unlikeliness", "entropic", "repo_r")


@pytest.mark.parametrize("name", TYPES)
def test_every_type_can_be_named_and_survives_a_file(name: str) -> None:
    config = load_config(overrides=[f"weighting.type={name}"])
    assert config.weighting.type == name
    assert build_config(config.model_dump(), checked=True) == config


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("weighting.reference=loss", MaxEntWeighting(reference="loss")),
        ("weighting={q_temperature: 2, q_epsilon: 0}", MaxEntWeighting(q_temperature=2.0, q_epsilon=0.0)),
        ("weighting.length_normalize_ref=no", MaxEntWeighting(length_normalize_ref=False)),
        ("weighting={type: grpo, normalization: none}", GRPOWeighting(normalization="none")),
        ("weighting={type: pass_at_k, k: 2}", PassAtKWeighting(k=2)),
    ],
)
def test_settings_are_read_as_they_are_spelled(override: str, expected: Weighting) -> None:
    assert load_config(overrides=[override]).weighting == expected


def test_another_type_starts_from_its_own_defaults() -> None:
    config = load_config(overrides=["weighting.q_temperature=2", "controller.objective=null"])
    changed = apply_overrides(config, {"weighting.type": "pass_at_k", "weighting.k": 3})
    assert changed.weighting == PassAtKWeighting(k=3)
    assert apply_overrides(changed, {"weighting.type": "maxent"}).weighting == MaxEntWeighting()


@pytest.mark.parametrize("name", TYPES)
def test_an_experiment_that_names_no_target_asks_for_no_entropy_that_there_is_not(name: str) -> None:
    controller = load_config(overrides=[f"weighting.type={name}"]).controller_config()
    weighting = controller.weighting
    assert isinstance(weighting, WeightingBase)
    assert controller.moves("tau") == weighting.has_weights
    assert controller.target_kl == 0.2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["weighting.type=dapo"], "weighting.type is 'dapo'; valid: entropic, grpo, listwise, maxent, pass_at_k"),
        (["weighting=3"], "weighting is 3; it must be a mapping of settings with a type: maxent, grpo"),
        (["weighting.k=2"], "unknown key 'weighting.k'. Valid keys here: length_normalize_ref, q_epsilon"),
        (["weighting={type: pass_at_k, k: 9}"], "weighting.k is 9; it must be at most 8, the answers of a group"),
        (["weighting={type: pass_at_k, k: 0}"], "weighting.k is 0; it must be a whole number >= 1"),
        (["weighting={type: pass_at_k, k: 1.5}"], "weighting.k is 1.5"),
        (["weighting.q_temperature=.inf"], "weighting.q_temperature is inf; it must be > 0 and finite"),
        (["weighting.reference=nowhere"], "weighting.reference is 'nowhere': Input should be 'weights_and_loss' or"),
        (["weighting={type: grpo, normalization: max}"], "weighting.normalization is 'max'"),
        (
            ["weighting.type=grpo", "controller.target_entropy_fraction=0.8"],
            "controller.target_entropy_fraction is 0.8, and weighting.type is 'grpo', which has no coefficient",
        ),
        (
            ["weighting.type=repo_r", "controller.target_entropy=0.8"],
            "controller.entropy_signal is 'weight_entropy', and the answers of weighting 'repo_r' have no weights",
        ),
        (
            ["weighting.reference=loss", "controller.kl_signal=weight_kl"],
            "controller.kl_signal is 'weight_kl', and weighting.reference is 'loss'",
        ),
        (["weighting.type=ucpo", "controller.tau=1.5"], "controller.tau is 1.5; it must be in [0, 1]"),
        (["grpo.q_temperature=2"], "grpo.q_temperature is now weighting.q_temperature"),
        (["grpo.train_grpo_objective=true"], "grpo.train_grpo_objective is now weighting.type (grpo is plain GRPO"),
    ],
)
def test_bad_input_is_named_with_what_to_write(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=overrides)
    assert message in str(caught.value)


def test_a_tau_of_0_is_for_weights_without_a_reference() -> None:
    fixed = ["controller.objective=null", "controller.tau=0", "controller.beta=0"]
    assert load_config(overrides=[*fixed, "weighting.reference=loss"]).controller.tau == 0
    assert load_config(overrides=[*fixed, "weighting.type=listwise"]).controller.tau == 0
    with pytest.raises(ConfigError, match="weights need τ"):
        load_config(overrides=fixed)
