"""Values are read as their fields ask; text is never taken for something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maxent_ray.config import ExperimentConfig, TaskSettings, TrainSettings
from maxent_ray.config.field_kinds import kinds_at
from maxent_ray.config.loading import apply_overrides, build_config, load_config
from maxent_ray.config.reading import read_override
from maxent_ray.errors import ConfigError

ODD_TEXTS = [
    "runs/run #2/policy",
    "2024",
    "2024-05-01",
    "no",
    "a: b",
    "[v2]/x",
    "017",
    "1e-4",
    "12:30:45",
    "1_000",
    "null",
    "true",
    "{x}",
    "'quoted'",
    "trailing ",
    " leading",
    "a=b",
    "*star",
    "&anchor",
    "!tag",
    "%d",
    "@home",
    "模型/ü",
    "\tx",
    "",
]


def from_file(text: str | bytes, folder: Path) -> ExperimentConfig:
    path = folder / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path)


def refused(text: str | bytes, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        from_file(text, folder)
    return str(caught.value)


# --- text ---


@pytest.mark.parametrize("text", ODD_TEXTS)
@pytest.mark.parametrize("key", ["policy.model", "task.name"])
def test_text_is_what_was_typed(key: str, text: str) -> None:
    section, name = key.split(".")
    assert getattr(getattr(load_config(overrides=[f"{key}={text}"]), section), name) == text
    assert getattr(getattr(load_config(options={key: text}), section), name) == text


@pytest.mark.parametrize("text", ["2024", "2024-05-01", "no", "017", "1e-4", "12:30:45", "1_000", "true", ".inf"])
def test_text_needs_no_quotes_in_a_file(text: str, tmp_path: Path) -> None:
    config = from_file(f"policy: {{model: {text}}}\ntune:\n  objectives:\n  - {text}\n", tmp_path)
    assert config.policy.model == text
    assert config.tune.objectives == (text,)


@pytest.mark.parametrize("null", ["", "~", "null"])
def test_null_in_a_file_is_no_text(null: str, tmp_path: Path) -> None:
    assert refused(f"policy:\n  model: {null}\n", tmp_path).startswith("policy.model is None: ")
    assert from_file("policy: {model: 'null'}", tmp_path).policy.model == "null"


def test_blanks_around_the_equals_sign_are_no_part_of_the_value() -> None:
    assert read_override("policy.model = my model ") == ("policy.model", "my model ")
    assert read_override(" train.steps = 60 ") == ("train.steps", 60)


def test_a_closed_list_of_texts_is_read_as_text() -> None:
    controller = load_config(overrides=["controller.tau_rule.clip=auto", "controller.beta_rule.clip=0.2"]).controller
    assert (controller.tau_rule.clip, controller.beta_rule.clip) == ("auto", 0.2)  # type: ignore[union-attr]


# --- numbers, truth values, null ---


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("grpo.learning_rate", "1e-4", 1e-4),
        ("grpo.learning_rate", "1E-04", 1e-4),
        ("grpo.learning_rate", "+.5", 0.5),
        ("grpo.learning_rate", "1.", 1.0),
        ("grpo.learning_rate", "1", 1.0),
        ("train.steps", "24.0", 24),
        ("train.steps", "1e2", 100),
        ("train.steps", "0x10", 16),
        ("train.steps", "1_000", 1000),  # a number in YAML 1.1, and nothing else that the field could hold
        ("train.use_gpu", "no", False),
        ("train.use_gpu", "On", True),
        ("train.use_gpu", "~", None),
        ("train.use_gpu", "Null", None),
    ],
)
def test_values_are_read_as_their_field_asks(key: str, text: str, value: object, tmp_path: Path) -> None:
    section, name = key.split(".")
    for config in (load_config(overrides=[f"{key}={text}"]), from_file(f"{section}: {{{name}: {text}}}", tmp_path)):
        found = getattr(getattr(config, section), name)
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "how"),
    [
        ("train.steps='60'", "write a whole number without quotes, as 60"),
        ("train.steps=true", "whole number"),
        ("train.steps=017", "whole number"),
        ("train.steps=12:30:45", "whole number"),
        ("train.steps=9007199254740995.0", "whole number"),  # as a float it is another one
        ("train.steps=", "train.steps is None"),
        ("train.num_workers=1 # one", "train.num_workers is '1 # one'"),
        ("grpo.learning_rate=true", "write a number, as 0.1$"),
        ("grpo.learning_rate='0.1'", "without quotes"),
        ("grpo.learning_rate=1e999", "inf"),
        ("weighting.length_normalize_ref=1", "write true or false"),
        ("controller.tau=true", "controller.tau is True.*write a number"),
        ("controller.update_interval=1.5", "controller.update_interval is 1.5.*whole number"),
        ("controller.tau_rule.clip='0.2'", "controller.tau_rule.clip is '0.2'"),
        ("runtime.lag=true", "runtime.lag is True"),
        ("tune.objectives=analytic", r"write a list in brackets, as \[a, b\]"),
        ("train.steps=017", "'017': Input should be a valid integer; write a whole number, as 60$"),
        ("train.steps=60 # c", "write a whole number, as 60$"),
        ("grpo.learning_rate=inf", "write a number, as 0.1$"),
        ("tune.references='true'", "write true or false without quotes$"),
        ("tune.references=1", "write true or false$"),
        ("controller.update_interval=x", "write a whole number, as 60$"),
        ("tune.search_space=[1]", "write a mapping, as {key: value}$"),
        (f"train.steps=1{'0' * 3000}", "train.steps is a whole number of 9966 bits: .* less than or equal to 9007"),
        (f"train.seed=-1{'0' * 3000}", "train.seed is a whole number of 9966 bits: .* greater than or equal to -9007"),
        (f"task.seed=-1{'0' * 3000}", "task.seed is a whole number of 9966 bits: .* greater than or equal to -9007"),
        (f"controller.update_interval=1{'0' * 3000}", "controller.update_interval is a whole number of 9966 bits"),
        (f"train.steps=1{'0' * 5000}", r"train.steps is '1000*'… \(5001 characters\)"),
        (f"policy.dtype={'x' * 5000}", r"policy.dtype is 'xxx*'… \(5000 characters\)"),
        ("tune.objectives=[[a]]", r"^tune.objectives\[0\] is a list: Input should be a valid string[^\n]*$"),
        ("task.kwargs={since: {a: [[no]]}}", r"task.kwargs.since.a\[0\]\[0\] is no, which is text to some"),
        ("tune.search_space.grpo.temperature={low: 1}", "grpo.temperature is a dict: .*write a whole domain"),
        (
            "tune.search_space.grpo.temperature={type: uniform, high: x}",
            r"^tune.search_space.grpo.temperature.low is missing; it must be set\n"
            "tune.search_space.grpo.temperature.high is 'x': .*write a number, as 0.1$",
        ),
        (
            "tune.search_space.grpo.temperature={type: choice, values: [[a]]}",
            r"^tune.search_space.grpo.temperature.values\[0\] is a list: Input should be [^\n]*a valid dictionary$",
        ),
        ("tune.search_space.controller.target_kl.low=0.1", "write a whole domain, as {type: uniform"),
        ("task.kwargs.path=[v2]/x", "'task.kwargs.path=.*' begins like a list, a mapping or quoted text"),
    ],
)
def test_what_a_field_cannot_have_is_refused_with_how_to_write_it(override: str, how: str) -> None:
    with pytest.raises(ConfigError, match=how):
        load_config(overrides=[override])


@pytest.mark.parametrize("section", [TrainSettings, TaskSettings])
@pytest.mark.parametrize("seed", ["3", True, 1.5])
def test_settings_made_in_python_are_of_their_types(section: type, seed: object) -> None:
    with pytest.raises(ValueError, match="valid integer"):
        section(seed=seed)


def test_numbers_of_other_libraries_are_numbers() -> None:
    tau = torch.tensor(0.5)
    overrides = {"train.steps": np.int64(60), "grpo.learning_rate": np.float32(0.5), "controller.tau": tau}
    config = apply_overrides(ExperimentConfig(), overrides)
    assert (config.train.steps, config.grpo.learning_rate, config.controller.tau) == (60, 0.5, 0.5)
    assert [type(value) for value in (config.train.steps, config.controller.tau)] == [int, float]
    assert apply_overrides(config, {"controller.warmup_steps": np.int64(3)}).controller.warmup_steps == 3


# --- free values ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("runs/run #2/x", "runs/run #2/x"),
        ("a: b", "a: b"),
        ("2024", 2024),
        ("1e-4", 1e-4),
        ("true", True),
        ("null", None),
        ("'2024'", "2024"),
        ('"no"', "no"),
        ("{a: [1, x], b: {c: 1e-3}}", {"a": [1, "x"], "b": {"c": 1e-3}}),
        ("{1: a, yes: b}", {"1": "a", "yes": "b"}),
    ],
)
def test_free_values_are_numbers_where_they_look_like_one_else_text(text: str, value: object) -> None:
    found = load_config(overrides=[f"task.kwargs.x={text}"]).task.kwargs["x"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["no", "off", "017", "1_000", "12:30", "2024-05-01"])
def test_free_values_that_are_read_in_two_ways_are_refused(text: str, tmp_path: Path) -> None:
    message = rf"task.kwargs.x is {text}, .*write '{text}' with its quotes"
    with pytest.raises(ConfigError, match=message):
        load_config(overrides=[f"task.kwargs.x={text}"])
    with pytest.raises(ConfigError, match=message):
        from_file(f"task: {{kwargs: {{x: {text}}}}}", tmp_path)
    assert from_file(f"task: {{kwargs: {{x: '{text}'}}}}", tmp_path).task.kwargs == {"x": text}
    assert from_file(f"task: {{kwargs: {{x: !!str {text}}}}}", tmp_path).task.kwargs == {"x": text}


@pytest.mark.parametrize("value", [{1: "a"}, (1, 2), {"a": {None: 1}}, {1, 2}, b"x", float("nan")])
def test_arguments_that_no_file_gives_back_are_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"task.kwargs.x is "):
        build_config({"task": {"kwargs": {"x": value}}})


def test_a_type_among_free_values_is_a_value_like_others() -> None:
    config = load_config(overrides=["task.kwargs={path: a, type: b}", "task.kwargs.type=c"])
    assert config.task.kwargs == {"path": "a", "type": "c"}


def test_a_setting_that_is_text_or_a_list_takes_either() -> None:
    for value, read in (("[q_proj, v_proj]", ("q_proj", "v_proj")), ("all-linear", "all-linear"), ("q|v", "q|v")):
        config = load_config(overrides=[f"policy.lora.target_modules={value}"])
        assert config.policy.lora is not None and config.policy.lora.target_modules == read
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_config(overrides=["policy.lora.target_modules=[q_proj"])


def test_text_that_is_no_unicode_is_refused() -> None:
    """As a folder's name in another encoding, which Python reads into lone surrogates."""
    with pytest.raises(ConfigError, match=r"cannot be written to a file.*surrogates"):
        load_config(overrides=["policy.model=caf\udce9"])


# --- files ---


@pytest.mark.parametrize(
    ("text", "key", "where"),
    [
        ("train: {steps: 1, steps: 2}", "steps", "line 1, column 19"),
        ("train:\n  steps: 1\ngrpo: {group_size: 4}\ntrain:\n  seed: 3\n", "train", "line 4, column 1"),
        ('task: {kwargs: {a: {b: 1, "b": 2}}}', "b", "line 1, column 27"),
    ],
)
def test_a_key_that_is_given_twice_is_an_error(text: str, key: str, where: str, tmp_path: Path) -> None:
    message = refused(text, tmp_path)
    assert f"run.yaml is not valid YAML: the key '{key}' is given twice ({where})" in message


def test_an_override_gives_no_key_twice() -> None:
    with pytest.raises(ConfigError, match="the key 'low' is given twice"):
        load_config(overrides=["tune.search_space={controller.target_kl: {type: uniform, low: 1, low: 2, high: 3}}"])


def test_anchors_and_merged_keys_are_read(tmp_path: Path) -> None:
    text = "evaluation: &n {seed: 3, prompts: 8}\ntrain:\n  <<: {seed: 9, steps: 7}\n  seed: 4\n"
    config = from_file(text, tmp_path)
    assert (config.evaluation.seed, config.train.seed, config.train.steps) == (3, 4, 7)
    assert from_file("task: {kwargs: {a: &x [1e-4], b: *x}}", tmp_path).task.kwargs == {"a": [1e-4], "b": [1e-4]}
    base = "task: {kwargs: {base: &x {a: 1}, more: {<<: *x, b: 2}}}"
    assert from_file(base, tmp_path).task.kwargs["more"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_are_read_in_the_encodings_of_yaml(encoding: str, tmp_path: Path) -> None:
    assert from_file("policy: {model: runs/ü}".encode(encoding), tmp_path).policy.model == "runs/ü"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("policy: {model: é}".encode("latin-1"), "run.yaml is not valid YAML in UTF-8"),
        ("train:\n\tsteps: 3\n", "found character '\\t' that cannot start any token (line 2"),
        ("train: {steps: 3}\n---\ntrain: {steps: 4}\n", "but found another document"),
        ("train: !!python/object/apply:os.getcwd []", "could not determine a constructor for the tag"),
        ("a: &a [*a]", "recursive"),
        ("[" * 5000, "nested too deeply"),
        ("train: {!!int 1: 2}", "train has the key 1; keys are text: write it in quotes"),
        ("null: 3", "the file has the key None"),
        ("train.steps: 60", "settings stand below their section, as train: {steps: 60}"),
        ("train:", "write settings below it, or leave it out for their defaults"),
        ("policy: {model: [a]}", "a list or a mapping is text in quotes"),
        ("policy: {model: null}", "what YAML reads as null, a list or a mapping is text in quotes"),
    ],
)
def test_files_that_would_lose_something_are_refused(text: str | bytes, reason: str, tmp_path: Path) -> None:
    message = refused(text, tmp_path)
    assert reason in message
    assert "\n" not in message


def test_an_override_does_not_replace_a_value_by_a_section(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("train: 0\n")
    with pytest.raises(ConfigError, match="reaches inside 'train', which is 0"):
        load_config(path, ["train.steps=3"])


# --- declared types ---


def test_kinds_of_settings() -> None:
    assert kinds_at(("tune", "objectives", 0)) == {str}
    assert kinds_at(("task", "kwargs", "a", 1, "b")) == {Any}
    assert kinds_at(("controller", "objective", "form", "sensitivity_decay")) == {float}
    assert kinds_at(("controller", "tau_rule", "clip")) == {float, "auto", type(None)}
    assert kinds_at(("train",)) == kinds_at(("train", "step")) == kinds_at(("nowhere",)) == frozenset()


@pytest.mark.parametrize("override", ["train.={steps: 3}", ".steps=3", "tune.search_space.={}", "train..steps=3", "=3"])
def test_a_key_with_an_empty_part_is_none(override: str) -> None:
    with pytest.raises(ConfigError, match=r"is not of the form section\.key=value"):
        load_config(overrides=[override])
