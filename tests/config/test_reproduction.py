"""The ``config.yaml`` of a result reproduces the run: what is written is read back, whatever it is."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import apply_overrides, build_config, dump_config, load_config
from maxent_ray.core.numbers import LARGEST_COUNT
from maxent_ray.errors import ConfigError

UNTIMED = settings(deadline=None, derandomize=True)
OF_ANOTHER_TYPE = ["no", "017", "1e-4", "1_000", "0o17", "2024-05-01", "1:30", "null", "~", "", "true", ".inf", "1."]
WITH_MARKS = ["=", "<<", "a: b", "x #y", "- a", "{", '"', "'", "*a", "&a", "!t", "%", "@", "|", "\ufeff", "a\n\nb "]
TEXTS = st.sampled_from(OF_ANOTHER_TYPE + WITH_MARKS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | TEXTS
FREE = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
RATES = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
RULES = st.sampled_from([None, {"type": "pi", "clip": None}, {"type": "adam", "ema_decay": 0.5}, {"type": "sgd"}])
CHOICES = st.lists(SCALARS | st.dictionaries(TEXTS, SCALARS, max_size=2), min_size=1, max_size=3)
OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "policy.model": TEXTS,
        "task.name": TEXTS,
        "task.kwargs": st.dictionaries(TEXTS, FREE, max_size=3),
        "grpo.learning_rate": RATES,
        "grpo.kl_estimator": st.sampled_from(["full", "k3"]),
        "train.use_gpu": st.sampled_from([None, True, False]),
        "train.seed": st.integers(min_value=0, max_value=LARGEST_COUNT),
        "controller.tau_rule": RULES,
        "controller.beta_rule": RULES,
        "controller.objective": st.sampled_from([None, {"type": "truncated_backprop", "form": {"type": "joint"}}])
        | st.builds(lambda **own: {"type": "custom", **own}, import_path=TEXTS, kwargs=st.dictionaries(TEXTS, FREE)),
        "tune.objectives": st.lists(TEXTS, min_size=1, max_size=3),
        "tune.search_space": st.dictionaries(TEXTS, CHOICES.map(lambda values: {"type": "choice", "values": values})),
    },
)


@UNTIMED
@given(OVERRIDES)
def test_a_written_configuration_is_read_back(tmp_path_factory: pytest.TempPathFactory, overrides: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    config = apply_overrides(ExperimentConfig(), overrides)
    dump_config(config, path)
    again = load_config(path)
    assert again == config
    assert repr(again) == repr(config)  # 1, 1.0 and True are equal, and so are 0.0 and -0.0


@UNTIMED
@given(OVERRIDES)
def test_a_configuration_survives_messages(overrides: Any) -> None:
    config = apply_overrides(ExperimentConfig(), overrides)
    assert repr(build_config(json.loads(config.model_dump_json()), checked=True)) == repr(config)


@UNTIMED
@given(st.floats(min_value=1e-300, max_value=1e90), st.sampled_from(["{!r}", "{:e}", "{:.17g}", "{:.17E}"]))
def test_floats_keep_every_bit_from_the_command_line_to_the_file(
    tmp_path_factory: pytest.TempPathFactory, rate: float, form: str
) -> None:
    text, path = form.format(rate), tmp_path_factory.getbasetemp() / "config.yaml"
    dump_config(load_config(overrides=[f"grpo.learning_rate={text}"]), path)
    assert struct.pack("d", load_config(path).grpo.learning_rate) == struct.pack("d", float(text))


OLD = """\
policy:
  model: embedded
task:
  name: countdown
  kwargs:
    country: 'no'
    version: '2024'
    rate: 1.0e-05
    flag: false
    nothing: null
grpo:
  learning_rate: 1.0e-05
train:
  steps: 120
  use_gpu: null
tune:
  objectives:
  - analytic
  search_space:
    grpo.learning_rate:
      type: choice
      values:
      - 1e-4
      - 0.0003
    controller.beta_rule:
      type: choice
      values:
      - type: pi
      - null
"""
"""As earlier versions wrote it, ``1e-4`` then being a text."""


def test_files_of_earlier_versions_mean_the_same(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(OLD)
    config = load_config(path)
    kwargs = {"country": "no", "version": "2024", "rate": 1e-5, "flag": False, "nothing": None}
    assert config.task.kwargs == kwargs
    assert (config.grpo.learning_rate, config.train.steps, config.train.use_gpu) == (1e-5, 120, None)
    assert config.tune.search_space["grpo.learning_rate"].values == (1e-4, 3e-4)  # type: ignore[union-attr]
    assert config.tune.search_space["controller.beta_rule"].values == ({"type": "pi"}, None)  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize("key", ["task.kwargs.x", "grpo.learning_rate", "controller.tau"])
def test_no_file_holds_what_is_not_finite(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{key.rpartition('.')[2]} is -?(inf|nan)"):
        load_config(overrides=[f"{key}={value}"])
    with pytest.raises(ConfigError, match="values"):
        load_config(overrides=[f"tune.search_space={{a.b: {{type: choice, values: [{value}]}}}}"])
