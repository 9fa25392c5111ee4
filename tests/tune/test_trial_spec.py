from __future__ import annotations

import json
import math

import pytest

from maxent_ray.config import ExperimentConfig, TuneSettings
from maxent_ray.config.loading import apply_overrides, load_config
from maxent_ray.core.weightings import GRPOWeighting, UCPOWeighting
from maxent_ray.errors import ConfigError
from maxent_ray.report.labels import REFERENCES
from maxent_ray.tune.search_space import build_search_space
from maxent_ray.tune.trial_spec import REFERENCE_SETTINGS, TrialSpec, population, references, settings_json

CONFIG = load_config(overrides=["train.steps=12", "tune.trials_per_objective=3"])
SPACE = build_search_space(CONFIG)


def test_every_objective_has_its_trials_and_starts_from_the_same_values() -> None:
    specs = population(CONFIG, SPACE)
    assert [spec.trial for spec in specs if spec.objective == "analytic"] == [
        "analytic-0",
        "analytic-1",
        "analytic-2",
    ]
    by_name = {spec.trial: spec.values for spec in specs}
    for index in range(3):
        assert by_name[f"analytic-{index}"] == by_name[f"truncated_backprop-{index}"]
    assert by_name["analytic-0"] != by_name["analytic-1"]
    assert population(CONFIG, SPACE) == specs


def test_a_trial_survives_its_way_through_tune() -> None:
    for spec in population(CONFIG, SPACE) + references(CONFIG, SPACE):
        config = spec.to_config()
        assert TrialSpec.from_config(config) == spec
        assert all(not isinstance(value, dict) for value in config.values())  # flat


@pytest.mark.parametrize("value", [None, True, 1, 1.0, 1e-4, "log", "", "{}", '{"a": 1}', '"quoted"', "null", "2024"])
def test_values_survive_their_way_through_tune_as_they_are(value: object) -> None:
    spec = TrialSpec("analytic-0", "analytic", "{}", {"controller.tau_rule.clip": value})
    found = TrialSpec.from_config(json.loads(json.dumps(spec.to_config()))).values["controller.tau_rule.clip"]
    assert found == value
    assert type(found) is type(value)


def test_whole_rules_as_values_survive_their_way_through_tune() -> None:
    rules = [{"type": "adaptive_kl", "horizon": 20.0}, {"type": "pi"}, None]
    for rule in rules:
        spec = TrialSpec("analytic-0", "analytic", settings_json(CONFIG), {"controller.beta_rule": rule})
        config = spec.to_config()
        assert not any(isinstance(value, dict) for value in config.values())
        assert len({*config.values()}) > 1  # hashable, as Tune needs them
        assert TrialSpec.from_config(config) == spec
    assert spec.experiment().controller.beta_rule is None


def test_a_trial_trains_its_objective_with_its_values() -> None:
    spec = population(CONFIG, SPACE)[-1]
    experiment = spec.experiment()
    assert experiment.controller.objective.type == spec.objective == "truncated_backprop"
    assert experiment.controller.objective.fallback is None
    assert experiment.controller.target_kl == spec.values["controller.target_kl"]
    assert experiment.train == CONFIG.train


def test_readers_of_a_results_folder_know_the_same_references() -> None:
    assert {*REFERENCE_SETTINGS} < {*REFERENCES}  # RLlib has one more


def test_references_share_budget_and_seed_and_leave_the_controller_out() -> None:
    warm, grpo, fixed = references(CONFIG, SPACE)
    assert (warm.steps, grpo.steps, fixed.steps) == (0, 12, 12)
    for spec in (grpo, fixed):
        experiment = spec.experiment()
        assert experiment.controller_config().objective is None
        assert (experiment.train, experiment.task) == (CONFIG.train, CONFIG.task)
    assert grpo.experiment().weighting == GRPOWeighting()
    assert fixed.experiment().weighting == CONFIG.weighting
    assert grpo.experiment().controller.beta == 0.0
    assert fixed.experiment().controller.tau == CONFIG.controller.tau


def test_grpo_is_grpo_even_when_beta_is_searched_over() -> None:
    config = load_config()
    tuned = config.model_copy(
        update={
            "tune": TuneSettings.model_validate(
                {"search_space": {"controller.beta": {"type": "uniform", "low": 0.1, "high": 0.2}}}
            )
        }
    )
    grpo = references(tuned, build_search_space(tuned))[1]
    assert grpo.experiment().controller.beta == 0.0


def test_grpo_is_grpo_even_when_its_weighting_has_none_of_the_searched_settings() -> None:
    space = {"weighting.q_temperature": {"type": "uniform", "low": 0.5, "high": 2.0}}
    tuned = CONFIG.model_copy(update={"tune": TuneSettings.model_validate({"search_space": space})})
    _, grpo, fixed = references(tuned, build_search_space(tuned))
    assert grpo.experiment().weighting == GRPOWeighting()
    assert fixed.experiment().weighting == CONFIG.weighting


def test_objectives_train_with_the_weighting_of_the_run() -> None:
    config = load_config(overrides=["weighting.type=ucpo", "controller.target_entropy_fraction=null"])
    config = config.model_copy(update={"tune": TuneSettings(search_space={})})
    for spec in population(config, build_search_space(config)):
        assert spec.experiment().weighting == UCPOWeighting()


def test_a_clone_keeps_its_name_and_takes_the_donors_objective() -> None:
    recipient = TrialSpec("analytic-0", "analytic", "{}", {"a": 1}, segment=2, round=3)
    donor = TrialSpec("truncated_backprop-1", "truncated_backprop", "{}", {"a": 2})
    clone = recipient.cloned_from(donor, {"a": 2.4})
    assert clone == TrialSpec("analytic-0", "truncated_backprop", "{}", {"a": 2.4}, segment=3, round=3)


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        (("analytic", "analytic"), "each objective once"),
        (("analytic", "newtonian"), r"newtonian.*valid: analytic"),
        (("analytic", "grpo"), r"tune.objectives has 'grpo'; .*references are added by tune.references"),
        (("custom",), r"tune.objectives has 'custom'; name an own objective by its import path or entry point"),
        (("no_such_module:Mine",), r"'no_such_module:Mine': there is no module 'no_such_module'"),
    ],
)
def test_bad_objectives_are_named(objectives: tuple[str, ...], message: str) -> None:
    config = CONFIG.model_copy(update={"tune": CONFIG.tune.model_copy(update={"objectives": objectives})})
    with pytest.raises(ConfigError, match=message):
        population(config, SPACE)


def test_values_that_do_not_go_together_are_named_with_their_trial() -> None:
    spec = TrialSpec("analytic-7", "analytic", settings_json(ExperimentConfig()), {"controller.target_kl": math.inf})
    with pytest.raises(ConfigError, match=r"trial analytic-7 .*target_kl"):
        spec.experiment()


def test_a_searched_rule_that_an_objective_cannot_have_is_named_before_anything_starts() -> None:
    """Drawn or not: a perturbation could reach it in the middle of a run."""
    rules = "{type: choice, values: [{type: pi}, {type: adaptive_kl, horizon: 50}]}"
    both = load_config(overrides=[f"tune.search_space={{controller.beta_rule: {rules}}}"])
    with pytest.raises(ConfigError, match=r"trial truncated_backprop-0 .*adaptive_kl; it reads policy_kl .*analytic"):
        population(both, build_search_space(both))
    analytic = apply_overrides(both, {"tune.objectives": ["analytic"]})
    assert len(population(analytic, build_search_space(analytic))) == 4
