"""From files and overrides to checked settings: what is valid survives, what is not says why."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from maxent_ray.config import ExperimentConfig, LogUniform, TrainSettings, Uniform
from maxent_ray.config.loading import (
    apply_overrides,
    build_config,
    dump_config,
    load_config,
    with_overrides,
)
from maxent_ray.config.old_spellings import NEW_SPELLINGS
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives import (
    AnalyticControllerObjective,
    ControllerMetaContext,
    CustomObjective,
    Joint,
    Paired,
    TruncatedBackprop,
    build_controller_objective,
)
from maxent_ray.core.unions import members
from maxent_ray.core.update_rules import PI, Adam
from maxent_ray.core.weightings import UCPOWeighting
from maxent_ray.errors import ConfigError
from maxent_ray.runtime.options import ClientOptions

CONTROLLER_KEYS = ControllerConfig.__dataclass_fields__
FOLLOWING = ("group_size", "weighting")
"""Fields that are no keys of a configuration: they follow another setting."""


def rejected(*overrides: str) -> str:
    """The message of the ConfigError that these overrides cause."""
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=overrides)
    return str(caught.value)


# --- reading ---


def test_defaults_are_a_valid_experiment() -> None:
    config = load_config()
    assert config == ExperimentConfig()
    assert config.controller_config().target_entropy_at(0) == pytest.approx(0.8 * math.log(8))
    assert config.controller_config().target_kl == 0.2


def test_a_file_sets_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train:\n  steps: 60\ncontroller:\n  target_kl: 0.1\n  tau_rule:\n    dead_band: 0.1\n")
    config = load_config(path)
    assert (config.train.steps, config.controller.target_kl) == (60, 0.1)
    assert config.controller.tau_rule == PI(dead_band=0.1)
    assert config.grpo == ExperimentConfig().grpo
    assert config.controller.tau == ExperimentConfig().controller.tau
    assert config.controller.target_entropy_fraction == 0.8


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing set\n")
    assert load_config(path) == ExperimentConfig()


def test_overrides_win_over_the_file_and_later_ones_over_earlier(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train: {steps: 60, seed: 5}\n")
    config = load_config(path, ["train.steps=70", "train.steps=80", "controller.objective.type=truncated_backprop"])
    assert (config.train.steps, config.train.seed) == (80, 5)
    assert config.controller_config().unroll is not None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("grpo.learning_rate=3e-4", 3e-4),  # YAML 1.1 reads this as a text
        ("grpo.learning_rate=0.001", 1e-3),
        ("train.use_gpu=null", None),
        ("train.use_gpu=false", False),
        ("policy.model=some/model", "some/model"),
        ("tune.objectives=[analytic]", ("analytic",)),
        (" task.name = my_tasks:a=b", "my_tasks:a=b"),
    ],
)
def test_override_values_are_yaml(override: str, expected: object) -> None:
    section, key = override.split("=")[0].strip().split(".")
    value = getattr(getattr(load_config(overrides=[override]), section), key)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("override", ["train.steps", "=60", "", "train.steps:60"])
def test_an_override_without_key_and_value_shows_the_form(override: str) -> None:
    message = rejected(override)
    assert repr(override) in message
    assert "train.steps=60" in message


def test_an_override_that_is_not_yaml_is_named() -> None:
    message = rejected("tune.objectives=[analytic")
    assert "'tune.objectives=[analytic'" in message
    assert "not valid YAML" in message


def test_with_overrides_leaves_its_arguments_alone() -> None:
    values: dict[str, Any] = {"a": {"b": {"c": 1}, "d": 2}}
    result = with_overrides(values, {"a.b.c": 3, "e.f": 4})
    assert result == {"a": {"b": {"c": 3}, "d": 2}, "e": {"f": 4}}
    assert values == {"a": {"b": {"c": 1}, "d": 2}}


def test_apply_overrides_returns_another_checked_experiment() -> None:
    config = ExperimentConfig()
    changed = apply_overrides(config, {"controller.target_kl": 0.2, "controller.update_interval": 3})
    assert (changed.controller.target_kl, changed.controller.update_interval) == (0.2, 3)
    assert config == ExperimentConfig()
    with pytest.raises(ConfigError, match="target_kl is -1"):
        apply_overrides(config, {"controller.target_kl": -1})


# --- round trip ---

UNUSUAL = [
    "grpo.learning_rate=1.25e-07",
    "controller.target_entropy=1.7",
    "controller.tau_rule.clip=null",
    "controller.objective={type: truncated_backprop, unroll: {steps: 4}, form: {type: joint}}",
    "train.use_gpu=false",
    "tune.objectives=[truncated_backprop]",
    "tune.search_space={controller.target_kl: {type: loguniform, low: 0.001, high: 0.1}, "
    "grpo.weight_decay: {type: uniform, low: 0.0001, high: 0.001}, "
    "controller.tau_rule.space: {type: choice, values: [log, linear]}, "
    "controller.beta_rule: {type: choice, values: [{type: pi}, {type: adaptive_kl, horizon: 50}, null]}}",
]


@pytest.mark.parametrize("overrides", [[], UNUSUAL])
def test_dump_and_load_give_the_same_experiment(overrides: list[str], tmp_path: Path) -> None:
    config = load_config(overrides=overrides)
    dump_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_a_dump_holds_every_setting(tmp_path: Path) -> None:
    """What is written beside results must not change when a default does."""
    dump_config(ExperimentConfig(), tmp_path / "config.yaml")
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())

    def keys(section: type[BaseModel], values: dict[str, Any]) -> None:
        assert set(values) == set(section.model_fields), section
        for name, field in section.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                keys(field.annotation, values[name])

    keys(ExperimentConfig, written)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ExperimentConfig().train.steps = 3


# --- unknown keys ---


@pytest.mark.parametrize(
    ("override", "place", "hint", "valid"),
    [
        ("tarin.steps=3", "'tarin'", "'train'", sorted(ExperimentConfig.model_fields)),
        ("train.step=3", "'train.step'", "'steps'", sorted(TrainSettings.model_fields)),
        ("controller.target_k=1", "'controller.target_k'", "'target_kl'", sorted(CONTROLLER_KEYS)),
        ("controller.objective.typ=x", "'controller.objective.typ'", "'type'", ["type"]),
        (
            "controller.tau_rule={type: adaptive_kl, horizn: 3}",
            "'controller.tau_rule.horizn'",
            "'horizon'",
            ["error_clip", "horizon", "type"],
        ),
        ("runtime.lga=1", "'runtime.lga'", "'lag'", sorted(ClientOptions.__dataclass_fields__)),
        (
            "tune.search_space={controller.target_kl: {type: loguniform, low: 1, high: 2, hihg: 3}}",
            "'tune.search_space.controller.target_kl.hihg'",
            "'high'",
            sorted(LogUniform.model_fields),
        ),
    ],
)
def test_an_unknown_key_names_the_valid_ones(override: str, place: str, hint: str, valid: list[str]) -> None:
    message = rejected(override)
    assert f"unknown key {place}. Did you mean {hint}? Valid keys here: {', '.join(valid)}" in message


def test_an_unknown_key_like_no_other_gets_no_hint() -> None:
    message = rejected("train.zzzzzz=3")
    assert "unknown key 'train.zzzzzz'. Valid keys here: checkpoint_every" in message


def test_all_mistakes_are_told_at_once() -> None:
    message = rejected("train.steps=0", "grpo.group_size=1", "policy.modle=x")
    assert len(message.splitlines()) == 3


def test_a_key_below_a_value_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train: {steps: 60}\n")
    with pytest.raises(ConfigError, match=r"'steps.x' reaches inside 'steps', which is 60 and has no keys"):
        load_config(path, ["train.steps.x=1"])


# --- files that are no configuration ---


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*nowhere.yaml: No such file"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("train: [", "is not valid YAML"), ("- a\n- b\n", "holds a list; it must hold sections"), ("7", "holds a int")],
)
def test_a_file_without_sections_says_so(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(path)
    assert "broken.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["train:\n", "train: [1]\n", "train: 7\n"])
def test_a_section_that_is_no_section_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"^train is "):
        load_config(path)


# --- values out of range ---

TRUNCATED = ("controller.objective.type=truncated_backprop",)
TOO_HIGH = 2.1
"""Above log 8 = 2.079."""


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        # targets
        ([f"controller.target_entropy={TOO_HIGH}"], ["target_entropy is 2.1", "< log G = 2.0794", "G = 8"]),
        (["controller.target_entropy=1.5", "grpo.group_size=4"], ["target_entropy is 1.5", "log G = 1.3863"]),
        (["controller.target_entropy=0"], ["target_entropy is 0.0", "> 0 nats"]),
        (["controller.target_entropy=-1"], ["target_entropy is -1.0", "> 0 nats"]),
        (["controller.target_entropy_fraction=1"], ["target_entropy_fraction is 1.0", "in (0, 1)"]),
        (["controller.target_entropy_fraction=0"], ["target_entropy_fraction is 0.0", "in (0, 1)"]),
        (["controller.target_kl=-0.1"], ["target_kl is -0.1", ">= 0 nats"]),
        (["controller.target_kl=.nan"], ["target_kl is nan"]),
        (["controller.target_entropy_final_fraction=0.5"], ["target_entropy_horizon is 0", ">= 1"]),
        (
            [
                "controller.target_entropy_fraction=null",
                "controller.target_entropy_final_fraction=0.5",
                "controller.target_entropy_horizon=10",
            ],
            ["target_entropy is None", "set when target_entropy_final is"],
        ),
        (
            ["controller.target_entropy=1.5", "controller.target_entropy_fraction=0.9"],
            ["target_entropy is 1.5", "target_entropy_fraction is 0.9", "give one of the two"],
        ),
        # bounds
        (["controller.tau_min=2", "controller.tau_max=1"], ["tau_min is 2.0", "tau_max is 1.0", "cross"]),
        (["controller.beta_min=2", "controller.beta_max=1"], ["beta_min is 2.0", "beta_max is 1.0", "cross"]),
        (["controller.tau=0.0001"], ["tau is 0.0001", "in [0.001, 100.0]"]),
        (["controller.beta=1000"], ["beta is 1000.0", "in [0.0001, 100.0]"]),
        (["controller.beta=0"], ["beta is 0.0", "in [0.0001, 100.0]"]),
        (["controller.tau_min=0"], ["tau_min is 0.0", "> 0"]),
        (["controller.beta_min=0"], ["controller.beta_rule.space is log", "linear while beta_min = 0"]),
        (["controller.beta_max=.inf"], ["beta_max is inf", "finite"]),
        (["controller.tau=.nan"], ["tau is nan", "finite"]),
        # rates, intervals, counts
        (["grpo.learning_rate=0"], ["grpo.learning_rate is 0", "greater than 0"]),
        (["grpo.learning_rate=-1e-3"], ["grpo.learning_rate is", "greater than 0"]),
        (["controller.tau_rule.learning_rate=0"], ["controller.tau_rule.learning_rate is 0.0", "> 0"]),
        (["controller.beta_rule.learning_rate=-1"], ["controller.beta_rule.learning_rate is -1.0", "> 0"]),
        (["controller.update_interval=0"], ["update_interval is 0", ">= 1"]),
        (["controller.warmup_steps=-1"], ["warmup_steps is -1", ">= 0"]),
        ([*TRUNCATED, "controller.objective.unroll.steps=0"], ["controller.objective.unroll.steps is 0", ">= 1"]),
        (["controller.beta_rule.clip=0"], ["controller.beta_rule.clip is 0.0", "> 0"]),
        (["controller.tau_rule.ema_decay=1"], ["controller.tau_rule.ema_decay is 1.0", "in [0, 1)"]),
        (["controller.beta_rule.dead_band=-1"], ["controller.beta_rule.dead_band is -1.0", ">= 0"]),
        (["grpo.group_size=1"], ["grpo.group_size is 1", "greater than or equal to 2"]),
        (["grpo.prompts_per_step=0"], ["grpo.prompts_per_step is 0"]),
        (["train.steps=0"], ["train.steps is 0"]),
        (["train.steps=1.5"], ["train.steps is 1.5", "integer"]),
        (["train.seed=-1"], ["train.seed is -1"]),
        (["evaluation.seed=-1"], ["evaluation.seed is -1"]),
        (["weighting.q_temperature=0"], ["weighting.q_temperature is 0"]),
        (["weighting.q_epsilon=1"], ["weighting.q_epsilon is 1"]),
        (["grpo.learning_rate=fast"], ["grpo.learning_rate is 'fast'", "number"]),
        # names
        (["controller.entropy_signal=entropy"], ["entropy_signal is", "weight_entropy", "policy_entropy"]),
        (["runtime.lag=2"], ["runtime.lag is 2", "valid: 0, 1"]),
        (["runtime.when_unreachable=panic"], ["when_unreachable is 'panic'", "decide_locally", "raise"]),
        (["runtime.when_unreachable=local"], ["runtime.when_unreachable is 'local'", "decide_locally", "raise"]),
        (["runtime.round_policy=quorum"], ["runtime.round_policy is now gone", "within runtime.round_timeout_s"]),
        (["runtime.reduction=collective"], ["runtime.reduction is now gone", "reduce among themselves"]),
        (["runtime.retries=9"], ["runtime.retries is now gone", "beside the steps"]),
        # sections that do not fit together
        (["train.num_workers=5"], ["grpo.prompts_per_step is 24", "multiple of train.num_workers = 5"]),
        (["evaluation.prompts=257"], ["evaluation.prompts is 257", "task.held_out_prompts = 256"]),
        # search domains
        (
            ["tune.search_space={controller.target_kl: {type: uniform, low: 2, high: 1}}"],
            ["low is 2.0", "high is 1.0", "cross"],
        ),
        (["tune.search_space={controller.target_kl: {type: loguniform, low: 0, high: 1}}"], ["low is 0"]),
        (["tune.search_space={controller.target_kl: {type: choice, values: []}}"], ["values is a list", "at least 1"]),
        (["tune.search_space={controller.target_kl: {type: normal}}"], ["'normal'", "uniform", "choice"]),
        (["tune.quantile_fraction=0.6"], ["tune.quantile_fraction is 0.6"]),
        (["tune.objectives=[]"], ["tune.objectives is a list", "at least 1 item"]),
    ],
    ids=lambda value: value[-1] if isinstance(value[0], str) and "=" in value[0] else "",
)
def test_a_value_out_of_range_is_named_with_the_range(overrides: list[str], parts: list[str]) -> None:
    message = rejected(*overrides)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    "overrides",
    [
        ["controller.beta=0", "controller.target_kl=0"],  # plain GRPO: β is fixed, so its bounds do not apply
        ["controller.objective=null", "controller.tau=500"],
        ["controller.target_entropy_fraction=null", "controller.tau=500"],
        ["controller.tau_min=0.3", "controller.tau_max=0.3"],
        ["controller.entropy_signal=policy_entropy", "controller.target_entropy=2.5"],  # up to log V
        ["controller.beta_min=0", "controller.beta_rule.space=linear"],
        ["tune.search_space={controller.target_kl: {type: uniform, low: 1, high: 1}}"],
    ],
)
def test_what_looks_odd_but_makes_sense_is_accepted(overrides: list[str]) -> None:
    load_config(overrides=overrides)


# --- the target entropy: nats or a fraction ---


def test_a_target_in_nats_replaces_the_default_fraction() -> None:
    for config in (
        load_config(overrides=["controller.target_entropy=1.5"]),
        apply_overrides(ExperimentConfig(), {"controller.target_entropy": 1.5}),
        build_config({"controller": {"target_entropy": 1.5}}),
    ):
        assert config.controller_config().target_entropy == 1.5


def test_an_override_replaces_the_other_form_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("controller: {target_entropy: 1.5}\n")
    config = load_config(path, ["controller.target_entropy_fraction=0.9"])
    assert config.controller_config().target_entropy_at(0) == pytest.approx(0.9 * math.log(8))
    again = apply_overrides(config, {"controller.target_entropy": 1.2})
    assert again.controller_config().target_entropy == 1.2


def test_fractions_become_nats_of_the_group_size() -> None:
    controller = load_config(
        overrides=[
            "grpo.group_size=16",
            "controller.target_entropy_fraction=0.9",
            "controller.target_entropy_final_fraction=0.5",
            "controller.target_entropy_horizon=10",
        ]
    ).controller_config()
    assert controller.target_entropy_at(0) == pytest.approx(0.9 * math.log(16))
    assert controller.target_entropy_at(5) == pytest.approx(0.7 * math.log(16))
    assert controller.target_entropy_at(10) == pytest.approx(0.5 * math.log(16))


def other_value(name: str, value: Any) -> Any:
    """A valid value that differs from a setting's default."""
    special = {
        "objective": None,
        "tau_rule": {"type": "adam"},
        "beta_rule": {"type": "sgd"},
        "entropy_signal": "policy_entropy",
        "kl_signal": "weight_kl",
        "kl_reference": "behaviour_policy",
        "entropy_response": "slow",
        "kl_response": "fast",
        "entropy_scale": 0.5,
        "tau": 0.4,
        "tau_min": 0.1,
        "tau_max": 50.0,
        "target_entropy": 1.5,
        "target_entropy_fraction": 0.5,
        "target_entropy_final": 1.2,
        "target_entropy_final_fraction": 0.4,
    }
    return special[name] if name in special else value + (0.01 if isinstance(value, float) else 2)


@pytest.mark.parametrize("name", [name for name in CONTROLLER_KEYS if name not in FOLLOWING])
def test_every_controller_setting_can_be_set(name: str) -> None:
    default = getattr(ExperimentConfig().controller, name)
    overrides = {"controller.target_entropy_horizon": 7, f"controller.{name}": other_value(name, default)}
    if name == "entropy_signal":  # a fraction is of log G, of weights
        overrides["controller.target_entropy"] = 0.5
    changed = apply_overrides(ExperimentConfig(), overrides).controller
    assert getattr(changed, name) != default
    others = {"target_entropy", "target_entropy_fraction", "target_entropy_horizon", name}
    kept = {field for field in CONTROLLER_KEYS if field not in others}
    assert all(getattr(changed, field) == getattr(ExperimentConfig().controller, field) for field in kept)


def test_the_group_size_is_that_of_the_groups() -> None:
    assert load_config(overrides=["grpo.group_size=4"]).controller_config().group_size == 4
    message = rejected("controller.group_size=4")
    assert message == "controller.group_size is 4; set grpo.group_size, which it follows"


def test_the_controllers_weighting_is_that_of_the_experiment() -> None:
    config = load_config(overrides=["weighting.type=listwise"])
    assert config.controller.weighting == config.controller_config().weighting == config.weighting
    assert "weighting" not in config.model_dump()["controller"]
    message = rejected("controller.weighting.type=grpo")
    assert message == "controller.weighting is a dict; set weighting, which it follows"
    with pytest.raises(ValueError, match=r"controller.weighting is UCPO.*; set weighting, which it follows"):
        ExperimentConfig(controller=ControllerConfig(weighting=UCPOWeighting()))


def test_disabling_the_controller_fixes_both_coefficients() -> None:
    controller = load_config(overrides=["controller.objective=null"]).controller_config()
    assert controller.objective is None
    assert not controller.moves("tau")
    assert not controller.moves("beta")


# --- unions on type ---


def test_another_type_starts_from_its_own_defaults() -> None:
    config = load_config(overrides=["controller.tau_rule={type: pi, proportional_gain: 1, ema_decay: 0.5}"])
    changed = apply_overrides(config, {"controller.tau_rule.clip": 0.1, "controller.tau_rule.type": "adam"})
    assert changed.controller.tau_rule == Adam(clip=0.1)
    same = apply_overrides(config, {"controller.tau_rule.type": "pi"})
    assert same.controller.tau_rule == config.controller.tau_rule


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (["controller.objective={type: truncated_backprop}", "controller.objective.form.type=joint"], Joint()),
        (["controller.objective.form.type=joint", "controller.objective={type: truncated_backprop}"], Joint()),
        (["controller.objective=null", "controller.objective.type=truncated_backprop"], Paired()),
    ],
)
def test_outer_overrides_come_before_inner_ones(overrides: list[str], found: Joint | Paired) -> None:
    objective = load_config(overrides=overrides).controller.objective
    assert isinstance(objective, TruncatedBackprop) and objective.form == found


def test_a_type_after_null_and_after_settings_without_one() -> None:
    assert load_config(overrides=["controller.tau_rule=null", "controller.tau_rule.type=adam"]).controller.rule(
        "tau"
    ) == Adam()
    rate = {"controller": {"tau_rule": {"learning_rate": 3.0}}}
    assert build_config(with_overrides(rate, {"controller.tau_rule.type": "adam"})).controller.tau_rule == Adam()
    same = build_config(with_overrides(rate, {"controller.tau_rule.type": "pi"})).controller.tau_rule
    assert same == PI(learning_rate=3.0)


def test_an_own_objective_keeps_its_settings_when_its_type_is_named_again() -> None:
    """As the trials of a comparison do."""
    own = "controller.objective={type: 'mine:Own', kwargs: {gain: 7}, unroll: {steps: 3}}"
    config = load_config(overrides=[own])
    assert apply_overrides(config, {"controller.objective.type": "mine:Own"}) == config
    other = apply_overrides(config, {"controller.objective.type": "mine:Other"}).controller.objective
    assert other == CustomObjective(import_path="mine:Other", name="mine:Other")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("controller.tau_rule={type: custom, import_path: 'a:b', kwargs: {limit: .inf}}", "tau_rule.kwargs.limit is"),
        ("controller.objective={type: 'a:b', kwargs: {since: 2024-01-01}}", "objective.kwargs.since is 2024-01-01"),
        ("task.kwargs={since: 2024-01-01}", "task.kwargs.since is 2024-01-01, .*write '2024-01-01' with its quotes"),
        ("task.kwargs={since: !!timestamp 2024-01-01}", "task.kwargs.since is datetime.date"),
        ("controller.tau_rule={type: [pi]}", r"controller.tau_rule.type is a list; valid: adam"),
        ("controller.objective={type: {a: 1}}", "controller.objective.type is a dict; valid: analytic"),
        ("controller.objective={type: truncated_backprop, form: {type: [joint]}}", "form.type is .*valid: decoupled"),
    ],
)
def test_values_that_no_file_could_carry_or_that_are_no_type(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(overrides=[override])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tau": "0.3"}, "tau is '0.3'; it must be a number"),
        ({"tau": True}, "tau is True; it must be a number"),
        ({"update_interval": 1.5}, "update_interval is 1.5; it must be a whole number"),
        ({"target_entropy": "1.9"}, "target_entropy is '1.9'; it must be a number"),
        ({"tau_rule": PI(learning_rate="1"), "target_entropy": 1.9}, "tau_rule.learning_rate is 1; it must be > 0"),  # type: ignore[arg-type]
        ({"objective": TruncatedBackprop(form="joint")}, "objective.form is 'joint'; valid: Paired"),  # type: ignore[arg-type]
        ({"objective": TruncatedBackprop(unroll={"steps": 2})}, r"objective.unroll is \{.*valid: Unroll"),  # type: ignore[arg-type]
    ],
)
def test_settings_made_in_python_are_checked_too(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ControllerConfig(**{"group_size": 8, **changes})


def test_settings_of_a_type_that_does_not_exist_are_named_on_the_wire() -> None:
    with pytest.raises(ConfigError, match=r"objective.type is 'nope'; valid: analytic, truncated_backprop, custom"):
        ControllerConfig.from_dict({"objective": {"type": "nope"}})


def test_a_rule_without_a_type_is_pi_and_without_settings_the_usual() -> None:
    assert load_config(overrides=["controller.tau_rule.learning_rate=3"]).controller.tau_rule == PI(learning_rate=3.0)
    assert load_config().controller.tau_rule is None
    assert load_config().controller.rule("tau") == PI()


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("controller.objective.type=newtonian", ["analytic, custom, truncated_backprop", "import path"]),
        ("controller.tau_rule.type=rmsprop", [", ".join(sorted(members(ControllerConfig)["tau_rule"])), "import path"]),
        ("controller.beta_rule={type: 7}", ["controller.beta_rule.type is 7", "adam"]),
        ("controller.objective={type: truncated_backprop, form: {type: both}}", ["decoupled, joint, paired"]),
    ],
)
def test_a_type_that_does_not_exist_names_the_valid_ones(override: str, parts: list[str]) -> None:
    message = rejected(override)
    assert ".type is " in message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("controller=3", "controller is 3; it must be a mapping of settings"),
        ("controller.objective=analytic", "controller.objective is 'analytic'; it must be a mapping"),
        ("controller.objective={type: truncated_backprop, unroll: 2}", "controller.objective.unroll is 2; it must"),
        ("runtime=[1]", r"runtime is a list; it must be a mapping"),
        ("controller.tau_rule={type: custom}", "controller.tau_rule.import_path is missing"),
    ],
)
def test_a_section_that_is_none_says_so(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        load_config(overrides=[override])


# --- the published names ---


def test_the_view_has_the_published_names() -> None:
    config = load_config(
        overrides=["controller.objective={type: truncated_backprop, unroll: {steps: 3}}", "controller.tau=0.4"]
    )
    view = config.published_weighting
    assert (view.tau, view.beta, view.kl_target) == (0.4, 0.1, 0.2)
    assert view.tau_target_entropy == pytest.approx(0.8 * math.log(8))
    assert view.controller_meta.model_dump() == {
        "enabled": True,
        "method": "truncated_backprop",
        "truncation_steps": 3,
        "analytic_steps": 1,
        "fallback": None,
    }
    assert not load_config(overrides=["controller.objective=null"]).published_weighting.controller_meta.enabled


def test_the_view_gives_the_objective_its_targets_in_nats() -> None:
    """What the analytic objective reads of our own settings (design: they satisfy the published interface)."""
    weighting = load_config(overrides=["controller.target_entropy_fraction=0.9"]).published_weighting
    objective = build_controller_objective(None, weighting)
    assert isinstance(objective, AnalyticControllerObjective)
    view = SimpleNamespace(weight_entropy=2.0)
    signals = objective.compute(ControllerMetaContext(weighting, view, None, global_step=0))
    assert signals is not None and signals.tau_grad == pytest.approx(2.0 - 0.9 * math.log(8))


# --- former spellings ---


@pytest.mark.parametrize("old", NEW_SPELLINGS)
def test_a_former_spelling_names_todays(old: str) -> None:
    assert rejected(f"{old}=1") == f"{old} is now {NEW_SPELLINGS[old]}"


def test_todays_spellings_exist() -> None:
    """Every dotted key that a message names is one, with one form of truncated backprop or another."""
    words = [re.findall(r"(?:controller|grpo|runtime|weighting)\.[\w.]+", text) for text in NEW_SPELLINGS.values()]
    for key in {word for found in words for word in found}:
        messages = []
        for form in ("paired", "decoupled"):
            base = f"controller.objective={{type: truncated_backprop, form: {{type: {form}}}}}"
            try:
                load_config(overrides=[base, f"{key}=null"])
            except ConfigError as error:
                messages.append(str(error))
        assert len(messages) < 2 or not all("unknown key" in message for message in messages), messages


def test_former_spellings_are_found_in_files_and_in_search_spaces(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(
        "weighting: {kl_target: 0.1, controller_meta: {form: joint}, q_epsilon: 0.1}\n"
        "tune: {search_space: {weighting.kl_target: {type: choice, values: [1]}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).splitlines() == [
        "weighting.kl_target is now controller.target_kl",
        "weighting.controller_meta.form is now controller.objective.form.type",
        "weighting.kl_target is now controller.target_kl",
    ]


def test_the_default_search_space_lies_inside_what_is_valid() -> None:
    config = ExperimentConfig()
    for key, domain in config.tune.search_space.items():
        values = (domain.low, domain.high) if isinstance(domain, Uniform | LogUniform) else domain.values
        for value in values:
            apply_overrides(config, {key: value})


SECTIONS_FILE = """
grpo: {learning_rate: 0.1}
train: {num_workers: 2}
controller: {objective: {type: truncated_backprop, unroll: {mode: reverse, checkpoint: true}}}
tune: {search_space: {grpo.temperature: {type: choice, values: [1.0]}}}
"""


@pytest.mark.parametrize(
    ("section", "dotted"),
    [
        ("tune={trials_per_objective: 2}", ["tune.trials_per_objective=2"]),
        ("grpo={group_size: 4, max_new_tokens: 3}", ["grpo.group_size=4", "grpo.max_new_tokens=3"]),
        ("train={steps: 200}", ["train.steps=200"]),
        ("train={}", []),
        ("controller={target_entropy: 1.2}", ["controller.target_entropy=1.2"]),
        ("controller={tau_rule: {type: adam}}", ["controller.tau_rule={type: adam}"]),
        ("controller.objective.unroll={steps: 4}", ["controller.objective.unroll.steps=4"]),
        ("runtime={lag: 0}", ["runtime.lag=0"]),
    ],
)
def test_a_mapping_for_a_section_sets_its_keys_and_no_others(section: str, dotted: list[str], tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(SECTIONS_FILE)
    assert load_config(tmp_path / "run.yaml", [section]) == load_config(tmp_path / "run.yaml", dotted)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("task.kwargs={b: 2}", {"b": 2}),
        ("task={kwargs: {b: 2}}", {"b": 2}),
    ],
)
def test_a_mapping_for_a_free_value_replaces_it(override: str, value: object, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("task: {kwargs: {a: 1}}")
    assert load_config(tmp_path / "run.yaml", [override]).task.kwargs == value


def test_a_mapping_for_one_of_several_types_replaces_it() -> None:
    overrides = ["controller.tau_rule={type: adam, clip: 0.5}", "controller.tau_rule={learning_rate: 2.0}"]
    assert load_config(overrides=overrides) == load_config(overrides=overrides[1:])


def test_of_two_spellings_of_one_setting_the_last_wins() -> None:
    assert load_config(overrides=["train.steps=3", "train={steps: 4}"]).train.steps == 4
    assert load_config(overrides=["train={steps: 4}"], options={"train.steps": 3}).train.steps == 4


def test_a_dotted_key_inside_a_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has the key 'tau_rule.clip'; write controller.tau_rule.clip as"):
        load_config(overrides=["controller={tau_rule.clip: 1}"])
