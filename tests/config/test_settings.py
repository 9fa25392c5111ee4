"""From files and overrides to checked settings: what is valid survives, what is not says why."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from maxent_ray.config import (
    ControllerMetaSettings,
    ExperimentConfig,
    LogUniform,
    RuntimeSettings,
    TrainSettings,
    Uniform,
    WeightingSettings,
)
from maxent_ray.config.loading import (
    apply_overrides,
    build_config,
    dump_config,
    load_config,
    with_overrides,
)
from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives import ANALYTIC_METHODS, TRUNCATED_METHODS
from maxent_ray.errors import ConfigError

META = "weighting.controller_meta"


def rejected(*overrides: str) -> str:
    """The message of the ConfigError that these overrides cause."""
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=overrides)
    return str(caught.value)


# --- reading ---


def test_defaults_are_a_valid_experiment() -> None:
    config = load_config()
    assert config == ExperimentConfig()
    assert config.controller_config().target_entropy == pytest.approx(0.95 * math.log(8))
    assert config.controller_config().target_kl == 0.05


def test_a_file_sets_what_it_names_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"train:\n  steps: 60\nweighting:\n  kl_target: 0.1\n  {META.split('.')[1]}:\n    form: joint\n")
    config = load_config(path)
    assert (config.train.steps, config.weighting.kl_target) == (60, 0.1)
    assert config.weighting.controller_meta.form == "joint"
    assert config.grpo == ExperimentConfig().grpo
    assert config.weighting.tau == ExperimentConfig().weighting.tau


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing set\n")
    assert load_config(path) == ExperimentConfig()


def test_overrides_win_over_the_file_and_later_ones_over_earlier(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train: {steps: 60, seed: 5}\n")
    config = load_config(path, ["train.steps=70", "train.steps=80", f"{META}.method=truncated_backprop"])
    assert (config.train.steps, config.train.seed) == (80, 5)
    assert config.controller_config().uses_hypergradients


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("grpo.learning_rate=3e-4", 3e-4),  # YAML 1.1 reads this as a text
        ("grpo.learning_rate=0.001", 1e-3),
        ("train.use_gpu=null", None),
        ("train.use_gpu=false", False),
        ("policy.model=some/model", "some/model"),
        ("tune.objectives=[analytic]", ("analytic",)),
        (" task.name = jsonl:a=b.jsonl", "jsonl:a=b.jsonl"),
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
    changed = apply_overrides(config, {"weighting.kl_target": 0.2, f"{META}.update_interval": 3})
    assert (changed.weighting.kl_target, changed.weighting.controller_meta.update_interval) == (0.2, 3)
    assert config == ExperimentConfig()
    with pytest.raises(ConfigError, match="target_kl is -1"):
        apply_overrides(config, {"weighting.kl_target": -1})


# --- round trip ---

UNUSUAL = [
    "grpo.learning_rate=1.25e-07",
    "weighting.tau_target_entropy=1.7",
    f"{META}.tau_grad_clip=null",
    f"{META}.truncation_steps=4",
    "train.use_gpu=false",
    "tune.objectives=[truncated_backprop]",
    "tune.search_space={weighting.kl_target: {type: loguniform, low: 0.001, high: 0.1}, "
    "grpo.learning_rate: {type: uniform, low: 0.0001, high: 0.001}, "
    "weighting.controller_meta.space: {type: choice, values: [log, linear]}}",
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
        (f"{META}.methd=x", f"'{META}.methd'", "'method'", sorted(ControllerMetaSettings.model_fields)),
        (
            "tune.search_space={weighting.kl_target: {type: loguniform, low: 1, high: 2, hihg: 3}}",
            "'tune.search_space.weighting.kl_target.loguniform.hihg'",
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

TOO_HIGH = 2.1
"""Above log 8 = 2.079."""


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        # targets
        ([f"weighting.tau_target_entropy={TOO_HIGH}"], ["target_entropy is 2.1", "< log G = 2.0794", "G = 8"]),
        (["weighting.tau_target_entropy=1.5", "grpo.group_size=4"], ["target_entropy is 1.5", "log G = 1.3863"]),
        (["weighting.tau_target_entropy=0"], ["target_entropy is 0.0", "> 0 nats"]),
        (["weighting.tau_target_entropy=-1"], ["target_entropy is -1.0", "> 0 nats"]),
        (["weighting.tau_target_entropy_fraction=1"], ["tau_target_entropy_fraction is 1", "less than 1"]),
        (["weighting.tau_target_entropy_fraction=0"], ["tau_target_entropy_fraction is 0", "greater than 0"]),
        (["weighting.kl_target=-0.1"], ["target_kl is -0.1", ">= 0 nats"]),
        (["weighting.kl_target=.nan"], ["target_kl is nan"]),
        (["weighting.tau_target_entropy_final_fraction=0.5"], ["target_entropy_horizon is 0", ">= 1"]),
        (
            [
                "weighting.tau_target_entropy_fraction=null",
                "weighting.tau_target_entropy_final_fraction=0.5",
                "weighting.tau_target_entropy_horizon=10",
            ],
            ["target_entropy is None", "set when target_entropy_final is"],
        ),
        (
            ["weighting.tau_target_entropy=1.5", "weighting.tau_target_entropy_fraction=0.9"],
            ["tau_target_entropy is 1.5", "tau_target_entropy_fraction is 0.9", "give one of the two"],
        ),
        # bounds
        (["weighting.tau_min=2", "weighting.tau_max=1"], ["tau_min is 2.0", "tau_max is 1.0", "cross"]),
        (["weighting.beta_min=2", "weighting.beta_max=1"], ["beta_min is 2.0", "beta_max is 1.0", "cross"]),
        (["weighting.tau=0.0001"], ["tau is 0.0001", "in [0.001, 100.0]"]),
        (["weighting.beta=1000"], ["beta is 1000.0", "in [0.0001, 100.0]"]),
        (["weighting.beta=0"], ["beta is 0.0", "in [0.0001, 100.0]"]),
        (["weighting.tau_min=0"], ["tau_min is 0.0", "> 0"]),
        (["weighting.beta_max=.inf"], ["beta_max is inf", "finite"]),
        (["weighting.tau=.nan"], ["tau is nan", "finite"]),
        # rates, intervals, counts
        (["grpo.learning_rate=0"], ["grpo.learning_rate is 0", "greater than 0"]),
        (["grpo.learning_rate=-1e-3"], ["grpo.learning_rate is", "greater than 0"]),
        ([f"{META}.tau_learning_rate=0"], ["tau_learning_rate is 0.0", "> 0"]),
        ([f"{META}.beta_learning_rate=-1"], ["beta_learning_rate is -1.0", "> 0"]),
        ([f"{META}.update_interval=0"], ["update_interval is 0", ">= 1"]),
        ([f"{META}.warmup_steps=-1"], ["warmup_steps is -1", ">= 0"]),
        ([f"{META}.truncation_steps=0"], ["truncation_steps is 0", ">= 1"]),
        ([f"{META}.beta_grad_clip=0"], ["beta_grad_clip is 0.0", "> 0"]),
        ([f"{META}.ema_decay=1"], ["ema_decay is 1.0", "in [0, 1)"]),
        ([f"{META}.dead_band=-1"], ["dead_band is -1.0", ">= 0"]),
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
        ([f"{META}.method=newtonian"], ["objective is 'newtonian'", *ANALYTIC_METHODS, *TRUNCATED_METHODS]),
        ([f"{META}.optimizer=rmsprop"], ["optimizer is 'rmsprop'", "sgd", "adam", "newton", "pi"]),
        ([f"{META}.form=both"], ["form is 'both'", "paired", "joint"]),
        (["weighting.entropy_signal=entropy"], ["entropy_signal is", "weight_entropy", "policy_entropy"]),
        (["runtime.lag=2"], ["runtime.lag is 2", "0 or 1"]),
        (["runtime.when_unreachable=panic"], ["when_unreachable is 'panic'", "decide_locally", "raise"]),
        (["runtime.when_unreachable=local"], ["runtime.when_unreachable = 'local' is gone", "decide_locally or raise"]),
        (["runtime.round_policy=quorum"], ["runtime.round_policy = 'quorum' is gone", "within round_timeout_s"]),
        (["runtime.reduction=collective"], ["runtime.reduction = 'collective' is gone", "reduce among themselves"]),
        (["runtime.retries=9"], ["runtime.retries = 9 is gone", "beside the steps"]),
        # sections that do not fit together
        (["train.num_workers=5"], ["grpo.prompts_per_step is 24", "multiple of train.num_workers = 5"]),
        (["evaluation.prompts=257"], ["evaluation.prompts is 257", "task.held_out_prompts = 256"]),
        # search domains
        (
            ["tune.search_space={weighting.kl_target: {type: uniform, low: 2, high: 1}}"],
            ["low is 2.0", "high is 1.0", "cross"],
        ),
        (["tune.search_space={weighting.kl_target: {type: loguniform, low: 0, high: 1}}"], ["low is 0"]),
        (["tune.search_space={weighting.kl_target: {type: choice, values: []}}"], ["values is []"]),
        (["tune.search_space={weighting.kl_target: {type: normal}}"], ["'normal'", "uniform", "choice"]),
        (["tune.quantile_fraction=0.6"], ["tune.quantile_fraction is 0.6"]),
        (["tune.objectives=[]"], ["tune.objectives is []"]),
    ],
    ids=lambda value: value[-1] if isinstance(value[0], str) and "=" in value[0] else "",
)
def test_a_value_out_of_range_is_named_with_the_range(overrides: list[str], parts: list[str]) -> None:
    message = rejected(*overrides)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    "overrides",
    [
        ["weighting.beta=0", "weighting.kl_target=0"],  # plain GRPO: β is fixed, so its bounds do not apply
        [f"{META}.enabled=false", "weighting.tau=500"],
        ["weighting.tau_target_entropy_fraction=null", "weighting.tau=500"],
        ["weighting.tau_min=0.3", "weighting.tau_max=0.3"],
        ["weighting.entropy_signal=policy_entropy", "weighting.tau_target_entropy=2.5"],  # up to log V
        ["weighting.beta_min=0", f"{META}.space=linear"],
        ["tune.search_space={weighting.kl_target: {type: uniform, low: 1, high: 1}}"],
    ],
)
def test_what_looks_odd_but_makes_sense_is_accepted(overrides: list[str]) -> None:
    load_config(overrides=overrides)


# --- the target entropy: nats or a fraction ---


def test_a_target_in_nats_replaces_the_default_fraction() -> None:
    for config in (
        load_config(overrides=["weighting.tau_target_entropy=1.5"]),
        apply_overrides(ExperimentConfig(), {"weighting.tau_target_entropy": 1.5}),
        build_config({"weighting": {"tau_target_entropy": 1.5}}),
    ):
        assert config.controller_config().target_entropy == 1.5


def test_an_override_replaces_the_other_form_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("weighting: {tau_target_entropy: 1.5}\n")
    config = load_config(path, ["weighting.tau_target_entropy_fraction=0.9"])
    assert config.controller_config().target_entropy == pytest.approx(0.9 * math.log(8))
    again = apply_overrides(config, {"weighting.tau_target_entropy": 1.2})
    assert again.controller_config().target_entropy == 1.2


def test_fractions_become_nats_of_the_group_size() -> None:
    settings = WeightingSettings(
        tau_target_entropy_fraction=0.9, tau_target_entropy_final_fraction=0.5, tau_target_entropy_horizon=10
    )
    controller = settings.controller_config(16)
    assert controller.target_entropy_at(0) == pytest.approx(0.9 * math.log(16))
    assert controller.target_entropy_at(5) == pytest.approx(0.7 * math.log(16))
    assert controller.target_entropy_at(10) == pytest.approx(0.5 * math.log(16))


def test_every_controller_setting_reaches_the_controller() -> None:
    """Settings that differ from the controller's defaults, so that a forgotten one would show."""
    meta: dict[str, Any] = {
        "method": "truncated_backprop",
        "optimizer": "adam",
        "space": "linear",
        "tau_learning_rate": 0.11,
        "beta_learning_rate": 0.12,
        "tau_proportional_gain": 0.13,
        "beta_proportional_gain": 0.14,
        "tau_grad_clip": 0.15,
        "beta_grad_clip": 0.16,
        "ema_decay": 0.17,
        "dead_band": 0.18,
        "warmup_steps": 3,
        "update_interval": 4,
        "truncation_steps": 5,
        "form": "joint",
        "fallback": "analytic",
        "sensitivity_decay": 0.21,
        "kl_bandwidth": 0.11,
    }
    weighting: dict[str, Any] = {
        "tau": 0.31,
        "beta": 0.32,
        "entropy_signal": "policy_entropy",
        "kl_signal": "weight_kl",
        "tau_min": 0.01,
        "tau_max": 5.0,
        "beta_min": 0.02,
        "beta_max": 6.0,
    }
    settings = WeightingSettings(
        controller_meta=ControllerMetaSettings(**meta),
        tau_target_entropy_fraction=0.5,
        tau_target_entropy_final_fraction=0.4,
        tau_target_entropy_horizon=7,
        kl_target=0.33,
        **weighting,
    )
    controller = settings.controller_config(4)
    assert controller.objective == meta.pop("method")
    assert {name: getattr(controller, name) for name in meta} == meta
    assert {name: getattr(controller, name) for name in weighting} == weighting
    assert controller.target_kl == 0.33
    set_above = {*meta, *weighting, "objective", "target_kl", "group_size"} | {
        "target_entropy",
        "target_entropy_final",
        "target_entropy_horizon",
    }
    unreachable = set(ControllerConfig.__dataclass_fields__) - set_above
    assert unreachable == {"saturation_patience"}


def test_disabling_the_controller_fixes_both_coefficients() -> None:
    controller = load_config(overrides=[f"{META}.enabled=false"]).controller_config()
    assert controller.objective is None
    assert not controller.moves("tau")
    assert not controller.moves("beta")


def test_unset_truncation_steps_are_the_analytic_steps() -> None:
    def steps(*overrides: str) -> int:
        return load_config(overrides=overrides).controller_config().truncation_steps

    assert steps() == 1
    assert steps(f"{META}.analytic_steps=3") == 3
    assert steps(f"{META}.analytic_steps=3", f"{META}.truncation_steps=2") == 2


def test_the_default_search_space_lies_inside_what_is_valid() -> None:
    config = ExperimentConfig()
    for key, domain in config.tune.search_space.items():
        values = (domain.low, domain.high) if isinstance(domain, Uniform | LogUniform) else domain.values
        for value in values:
            apply_overrides(config, {key: value})


def test_resolved_weighting_gives_the_objective_its_target_in_nats() -> None:
    """What the analytic objective reads of our own settings (design: they satisfy the published interface)."""
    weighting = WeightingSettings(tau_target_entropy_fraction=0.9, kl_target=0.1).resolved(8)
    assert weighting.tau_target_entropy == pytest.approx(0.9 * math.log(8))
    assert weighting.resolved(8) == weighting
    assert weighting.controller_config(8) == WeightingSettings(
        tau_target_entropy_fraction=0.9, kl_target=0.1
    ).controller_config(8)


def test_a_configuration_that_an_older_version_wrote_is_read(tmp_path: Path) -> None:
    """Every result of before has all former settings, at what they were by default."""
    former = {
        "lag": 0,
        "reduction": "actor",
        "timeout_s": 30.0,
        "retries": 6,
        "backoff_s": 0.5,
        "when_unreachable": "hold",
        "round_policy": "wait",
        "round_timeout_s": 600.0,
        "quorum_fraction": 0.5,
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"runtime": former}))
    assert load_config(tmp_path / "config.yaml").runtime == RuntimeSettings(lag=0, timeout_s=30.0)
