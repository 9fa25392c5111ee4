"""A decision's alarms in the log: one warning each, none where there is none."""

from __future__ import annotations

import json
import logging

import pytest

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
