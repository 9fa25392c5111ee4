"""A setting of the command line holds in every run: a search that would move it does not, or it is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.domains import DEFAULT_SEARCH_SPACE
from maxent_ray.config.loading import dump_config, load_config
from maxent_ray.errors import ConfigError
from maxent_ray.tune.search_space import build_search_space
from maxent_ray.tune.trial_spec import population, references

FILE = """
controller: {target_kl: 0.05}
tune:
  search_space:
    controller.target_kl: {type: uniform, low: 0.1, high: 0.2}
    grpo.temperature: {type: choice, values: [1.0]}
"""


def values_of_trials(config: ExperimentConfig, name: str) -> set[float | None]:
    space = build_search_space(config)
    runs = [*population(config, space), *references(config, space)]
    return {getattr(run.experiment().controller, name) for run in runs}


def spellings(key: str, value: float) -> list[Any]:
    """Arguments of ``load_config`` that set a key of a section on the command line."""
    section, _, name = key.partition(".")
    return [
        pytest.param({"overrides": [f"{key}={value}"]}, id="dotted"),
        pytest.param({"overrides": [f"{section}={{{name}: {value}}}"]}, id="section"),
        pytest.param({"options": {key: value}}, id="option"),
        pytest.param({"options": {section: {name: value}}}, id="section as an option"),
    ]


@pytest.mark.parametrize("given", spellings("controller.target_kl", 0.1))
def test_every_trial_has_what_was_set(given: dict[str, Any]) -> None:
    assert values_of_trials(load_config(**given), "target_kl") == {0.1}


def test_what_a_file_sets_is_searched_over(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("controller: {target_kl: 0.1}")
    assert len(values_of_trials(load_config(tmp_path / "run.yaml"), "target_kl")) > 2
    assert len(values_of_trials(load_config(), "target_kl")) > 2


@pytest.mark.parametrize("given", spellings("controller.target_entropy", 1.5))
def test_a_target_in_nats_is_not_replaced_by_a_searched_fraction(given: dict[str, Any]) -> None:
    config = load_config(**given)
    assert values_of_trials(config, "target_entropy") == {1.5}
    assert values_of_trials(config, "target_entropy_fraction") == {None}


def test_only_what_was_set_leaves_the_search() -> None:
    config = load_config(overrides=["controller={target_kl: 0.1, tau_rule: {type: adam, learning_rate: 0.1}}"])
    left = DEFAULT_SEARCH_SPACE.keys() - {"controller.target_kl", "controller.tau_rule.learning_rate"}
    assert config.tune.search_space.keys() == left


@pytest.mark.parametrize("given", spellings("controller.target_kl", 0.1))
def test_a_command_line_wins_over_the_search_space_of_a_file(given: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(FILE)
    assert load_config(file).tune.search_space.keys() == {"controller.target_kl", "grpo.temperature"}
    fixed = load_config(file, **given)
    assert fixed.tune.search_space.keys() == {"grpo.temperature"}
    dump_config(fixed, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == fixed


DOMAIN = "{type: uniform, low: 0.1, high: 0.2}"


@pytest.mark.parametrize("given", spellings("controller.target_kl", 0.1))
@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"tune.search_space={{controller.target_kl: {DOMAIN}}}", " and is also in tune"),
        (f"tune={{search_space: {{controller.target_kl: {DOMAIN}}}}}", " and is also in tune"),
        (f"tune.search_space.controller.target_kl={DOMAIN}", " and is also in tune"),
        ("tune.search_space={controller: {type: choice, values: [{}]}}", ", but .*, whose values would replace it"),
    ],
)
def test_what_contradicts_is_an_error(given: dict[str, Any], override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"controller\.target_kl is set{message}"):
        load_config(**{**given, "overrides": [*given.get("overrides", ()), override]})


def test_a_domain_of_a_command_line_joins_the_space(tmp_path: Path) -> None:
    """The default space or a file's; a default domain that is set elsewhere on the command line contradicts nothing."""
    override = f"tune.search_space.grpo.weight_decay={DOMAIN}"
    assert load_config(overrides=[override]).tune.search_space.keys() == {*DEFAULT_SEARCH_SPACE, "grpo.weight_decay"}
    (tmp_path / "run.yaml").write_text(FILE)
    space = load_config(tmp_path / "run.yaml", [override, "controller.target_kl=0.1"]).tune.search_space
    assert space.keys() == {"grpo.temperature", "grpo.weight_decay"}
    changed = load_config(tmp_path / "run.yaml", ["tune.search_space.grpo.temperature={type: choice, values: [2]}"])
    assert changed.tune.search_space["grpo.temperature"].values == (2,)
    assert len(changed.tune.search_space) == 2


def test_the_default_space_has_no_entropy_of_weights_where_answers_have_none() -> None:
    """Else a comparison with such a weighting would have to name a search space, only to leave this target out."""
    ucpo = load_config(overrides=["weighting.type=ucpo"])
    assert ucpo.tune.search_space.keys() == {
        *("controller.target_kl", "controller.beta_rule.learning_rate", "controller.update_interval")
    }
    assert len(values_of_trials(ucpo, "target_kl")) > 2
    signal = ["controller.entropy_signal=policy_entropy", "controller.target_entropy=0.5"]
    of_the_policy = load_config(overrides=["weighting.type=ucpo", *signal]).tune.search_space
    assert "controller.tau_rule.learning_rate" in of_the_policy
    assert load_config(overrides=["weighting.type=maxent"]).tune.search_space.keys() == DEFAULT_SEARCH_SPACE.keys()
