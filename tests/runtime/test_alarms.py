"""A decision's alarms in the log: one warning each, none where there is none."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import fields
from pathlib import Path

import pytest

from maxent_ray.config import ControllerMetaSettings, WeightingSettings
from maxent_ray.core import alarms
from maxent_ray.core.alarms import TARGET_ENTROPY, TARGET_KL
from maxent_ray.core.controller import Controller
from maxent_ray.core.controller_config import ControllerConfig
from maxent_ray.core.statistics import BatchStatistics
from maxent_ray.runtime.alarms import announce

logger = logging.getLogger("maxent_ray.test")


def test_one_warning_in_a_whole_run(caplog: pytest.LogCaptureFixture) -> None:
    config = ControllerConfig(group_size=8, target_kl=0.05, beta=0.1, beta_max=1.0)
    controller = Controller(config)
    state = controller.init()
    for _ in range(100):
        state, decision = controller.step(state, BatchStatistics(tokens=1, policy_kl_sum=0.2))
        announce(json.loads(json.dumps(decision.to_dict())), logger)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("step 30: β has been at its upper bound (beta_max = 1) for 20 updates")
    assert record.getMessage().endswith("[saturated]")


@pytest.mark.parametrize("name", [TARGET_ENTROPY, TARGET_KL])
def test_settings_are_named_as_both_sorts_of_users_write_them(name: str) -> None:
    """In ``ControllerConfig`` and, in brackets, in a configuration file."""
    core, _, keys = name.rstrip(")").partition(" (")
    assert core in {field.name for field in fields(ControllerConfig)}
    for key in keys.split(" or "):
        section, _, setting = key.partition(".")
        assert section == "weighting"
        assert setting in WeightingSettings.model_fields


def test_the_other_settings_that_messages_name_have_one_name() -> None:
    files = {*WeightingSettings.model_fields, *ControllerMetaSettings.model_fields}
    core = {field.name for field in fields(ControllerConfig)}
    words = set(re.findall(r"[a-z]+(?:_[a-z]+)+", Path(alarms.__file__).read_text()))
    settings = {f"{coefficient}_{end}" for coefficient in ("tau", "beta") for end in ("min", "max", "learning_rate")}
    settings |= {"dead_band", "kl_bandwidth"}
    assert settings <= core & files
    assert words & core - files <= {"target_entropy", "target_kl"}  # the two above
