from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from maxent_ray.config import Choice, ExperimentConfig, LogUniform, TuneSettings, Uniform
from maxent_ray.config.loading import apply_overrides, load_config
from maxent_ray.errors import ConfigError
from maxent_ray.tune.search_space import SearchSpace, build_search_space, ray_domains
from maxent_ray.tune.sweep import swept_space

KL, INTERVAL = "controller.target_kl", "controller.update_interval"
WARMUP, OPTIMIZER = "controller.warmup_steps", "controller.tau_rule.type"


def experiment(**domains: object) -> ExperimentConfig:
    space = {name.replace("__", "."): domain for name, domain in domains.items()}
    return ExperimentConfig(tune=TuneSettings.model_validate({"search_space": space}))


def mixed_space() -> SearchSpace:
    config = ExperimentConfig(
        tune=TuneSettings(
            search_space={
                KL: LogUniform(low=0.03, high=0.15),
                WARMUP: Uniform(low=0, high=10),
                INTERVAL: Choice(values=(1, 2, 4)),
                OPTIMIZER: Choice(values=("sgd", "adam")),
            }
        )
    )
    return build_search_space(config)


def inside(values: dict[str, object]) -> bool:
    kl, warmup = values[KL], values[WARMUP]
    assert isinstance(kl, float)
    return (
        0.03 <= kl <= 0.15
        and type(warmup) is int
        and 0 <= warmup <= 10
        and values[INTERVAL] in (1, 2, 4)
        and values[OPTIMIZER] in ("sgd", "adam")
    )


def test_perturbed_values_never_leave_their_domain() -> None:
    space, rng = mixed_space(), np.random.default_rng(0)
    values = space.draw(rng)
    at_a_bound = 0
    for _ in range(500):
        explored = space.explore(values, rng, resample_probability=0.1)
        values = explored.values
        assert inside(values)
        at_a_bound += values[KL] in (0.03, 0.15)
    assert at_a_bound > 50  # the walk did press against the bounds: without clamping it would have left them


def test_perturbation_moves_one_step_or_resamples() -> None:
    space, rng = mixed_space(), np.random.default_rng(1)
    values = {KL: 0.08, WARMUP: 5, INTERVAL: 2, OPTIMIZER: "sgd"}
    for _ in range(50):
        explored = space.explore(values, rng, resample_probability=0.0)
        assert math.isclose(explored.values[KL], 0.08 * float(explored.operations[KL].removeprefix("* ")))
        assert explored.values[WARMUP] in (4, 6)
        assert explored.values[INTERVAL] in (1, 4)
    assert set(space.explore(values, rng, resample_probability=1.0).operations.values()) == {"resample"}


def test_the_same_generator_gives_the_same_values() -> None:
    space = mixed_space()
    first, again, other = (space.draw(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again != other


def test_log_uniform_draws_are_uniform_in_the_logarithm() -> None:
    space = build_search_space(experiment(controller__target_kl=LogUniform(low=0.01, high=1.0)))
    rng = np.random.default_rng(0)
    below = sum(space.draw(rng)[KL] < 0.1 for _ in range(2000)) / 2000
    assert abs(below - 0.5) < 0.05  # 0.1 is the middle of the logarithms; of the interval it is the tenth


def test_clamp_brings_everything_inside() -> None:
    outside = {KL: 7.0, WARMUP: -3.2, INTERVAL: 9, OPTIMIZER: "adam", "controller.tau": 4.0}
    assert mixed_space().clamp(outside) == {
        KL: 0.15,
        WARMUP: 0,
        INTERVAL: 4,
        OPTIMIZER: "adam",
        "controller.tau": 4.0,
    }
    with pytest.raises(ConfigError, match=r"controller.tau_rule.type is 'lion'; valid: sgd, adam"):
        mixed_space().clamp({**outside, OPTIMIZER: "lion"})


def test_grid_is_the_product_of_evenly_spaced_values() -> None:
    space = build_search_space(
        experiment(
            controller__target_kl=LogUniform(low=0.01, high=0.16),
            controller__target_entropy_fraction=Uniform(low=0.8, high=0.9),
        )
    )
    grid = space.grid(3)
    assert len(grid) == 9
    assert sorted({round(point[KL], 12) for point in grid}) == [0.01, 0.04, 0.16]
    fractions = sorted({round(point["controller.target_entropy_fraction"], 12) for point in grid})
    assert fractions == [0.8, 0.85, 0.9]
    assert [point[INTERVAL] for point in mixed_space().only([INTERVAL]).grid(99)] == [1, 2, 4]


@pytest.mark.parametrize(
    ("key", "domain", "message"),
    [
        ("controller.target_k", Uniform(low=0, high=1), r"controller.target_k.*target_kl"),
        ("controller.target_kl", Uniform(low=-1, high=1), r"reaches -1.0.*target_kl is -1"),
        ("controller.target_entropy_fraction", Uniform(low=0.5, high=1.5), r"reaches 1.5"),
        (OPTIMIZER, Choice(values=("sgd", "lion")), r"reaches 'lion'"),
        (
            "train.steps",
            Choice(values=(1, 2)),
            r"'train.steps'; a search runs over keys of controller, grpo and weighting",
        ),
        (
            "controller.objective.type",
            Choice(values=("analytic",)),
            r"except .*controller.objective.type",
        ),
        ("grpo", Choice(values=({"group_size": 4},)), "'grpo'.*name .* one by one, as grpo.learning_rate"),
        ("controller", Choice(values=({},)), "'controller'.*name .* as controller.target_kl"),
        ("controller.objective", Choice(values=(None,)), "'controller.objective'; a search runs over .*, except"),
    ],
)
def test_a_bad_key_or_bound_is_named_at_the_door(key: str, domain: object, message: str) -> None:
    config = ExperimentConfig(tune=TuneSettings.model_validate({"search_space": {key: domain}}))
    with pytest.raises(ConfigError, match=message):
        build_search_space(config)


def test_ray_sees_the_same_domains() -> None:
    domains = ray_domains(mixed_space())
    assert (domains[KL].lower, domains[KL].upper) == (0.03, 0.15)
    assert domains[INTERVAL] == [1, 2, 4]


RATE, CLIP = "grpo.learning_rate", "controller.tau_rule.clip"
CHOICES = """\
tune:
  search_space:
    grpo.learning_rate: {type: choice, values: [1e-4, 3e-4]}
    controller.target_kl: {type: choice, values: [5e-2, 1]}
    controller.update_interval: {type: choice, values: [1, 2.0]}
    controller.tau_rule.clip: {type: choice, values: [null, auto, 0.5]}
    grpo.kl_estimator: {type: choice, values: [full, k3]}
    weighting.length_normalize_ref: {type: choice, values: [yes, false]}
"""


def test_choices_are_values_of_the_setting_that_they_are_for(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(CHOICES)
    space = build_search_space(load_config(tmp_path / "run.yaml"))
    expected = {
        RATE: (1e-4, 3e-4),
        KL: (0.05, 1.0),
        INTERVAL: (1, 2),
        CLIP: (None, "auto", 0.5),
        "grpo.kl_estimator": ("full", "k3"),
        "weighting.length_normalize_ref": (True, False),
    }
    found = {key.name: key.domain.values for key in space.keys}  # type: ignore[union-attr]
    assert found == expected
    for name, values in expected.items():
        assert [type(value) for value in found[name]] == [type(value) for value in values]


def test_numbers_are_clamped_to_the_nearest_choice(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(CHOICES)
    space = build_search_space(load_config(tmp_path / "run.yaml")).only([RATE, KL, CLIP])
    assert space.clamp({RATE: 3e-4, KL: 0.05, CLIP: None}) == {RATE: 3e-4, KL: 0.05, CLIP: None}
    assert space.clamp({RATE: 2.5e-4, KL: 0.4, CLIP: 7.0}) == {RATE: 3e-4, KL: 0.05, CLIP: 0.5}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (RATE, "1e-4", r"reaches '1e-4': grpo.learning_rate is '1e-4': .*number"),
        (RATE, True, r"reaches True: grpo.learning_rate is True"),
        (RATE, None, r"reaches None: grpo.learning_rate is None"),
        (INTERVAL, True, r"reaches True: controller.update_interval is True"),
        ("weighting.length_normalize_ref", 1, r"reaches 1: weighting.length_normalize_ref is 1: .*true or false"),
    ],
)
def test_a_choice_that_the_setting_cannot_have_is_named(key: str, value: object, message: str) -> None:
    config = ExperimentConfig(tune=TuneSettings(search_space={key: Choice(values=(value,))}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        build_search_space(config)


RULES = ({"type": "pi"}, {"type": "adaptive_kl", "horizon": 50.0}, {"type": "sac_alpha"})


def test_update_rules_are_searched_over_as_whole_settings() -> None:
    space = build_search_space(experiment(controller__beta_rule=Choice(values=RULES)))
    rng = np.random.default_rng(0)
    drawn = [space.draw(rng)["controller.beta_rule"] for _ in range(40)]
    assert [rule for rule in RULES if rule in drawn] == list(RULES)
    for rule in drawn:
        config = apply_overrides(ExperimentConfig(), {"controller.beta_rule": rule})
        assert config.controller.rule("beta").type == rule["type"]
    explored = space.explore({"controller.beta_rule": RULES[1]}, rng, resample_probability=0.0)
    assert explored.values["controller.beta_rule"] in (RULES[0], RULES[2])
    assert space.clamp({"controller.beta_rule": RULES[2]}) == {"controller.beta_rule": RULES[2]}
    assert len(space.grid(9)) == 3


def test_a_searched_rule_that_cannot_be_imported_is_named_before_anything_starts() -> None:
    missing = {"type": "custom", "import_path": "no_such_module:rule"}
    with pytest.raises(ConfigError, match=r"reaches .*no_such_module:rule.*there is no module 'no_such_module'"):
        build_search_space(experiment(controller__beta_rule=Choice(values=({"type": "pi"}, missing))))


def test_settings_that_not_every_searched_rule_has_are_named_before_anything_starts() -> None:
    """Each key alone is fine; together some of their values are not."""
    with pytest.raises(ConfigError, match=r"beta_rule.learning_rate'.* together .*adaptive_kl.*unknown key"):
        build_search_space(
            experiment(
                controller__beta_rule=Choice(values=RULES),
                controller__beta_rule__learning_rate=LogUniform(low=0.1, high=0.4),
            )
        )
    same = experiment(
        controller__tau_rule__type=Choice(values=("pi", "sgd", "adam")),
        controller__tau_rule__learning_rate=LogUniform(low=0.1, high=0.4),
    )
    assert len(build_search_space(same).keys) == 2


def test_a_sweep_leaves_out_no_key_that_the_configuration_names() -> None:
    usual = ExperimentConfig()
    assert swept_space(usual, build_search_space(usual)).names == ("controller.target_entropy_fraction", KL)
    wider = experiment(controller__target_kl=Uniform(low=0.1, high=0.2), grpo__learning_rate=Choice(values=(1e-4,)))
    with pytest.raises(ConfigError, match=r"tune.search_space has grpo.learning_rate; a sweep searches over "):
        swept_space(wider, build_search_space(wider))
