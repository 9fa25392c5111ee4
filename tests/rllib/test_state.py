"""The controllers' state is saved and restored with the algorithm."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.rllib.core import COMPONENT_RL_MODULE

from maxent_ray.rllib import control
from tests.rllib.next_coefficients import next_coefficients
from tests.rllib.tiny import MODULE, metrics_of, ppo

SCRIPT = Path(__file__).with_name("next_coefficients.py")


def in_a_new_process(checkpoint: Path) -> Any:
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, str(SCRIPT), address, str(checkpoint)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.mark.parametrize("learners", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_new_process_goes_on_with_the_coefficients_of_the_undisturbed_run(
    built: Any, tmp_path: Path, learners: int
) -> None:
    config = ppo().learners(num_learners=learners, num_cpus_per_learner=0.5)
    algorithm = built(control(config, target_entropy=0.5, target_kl=0.01))
    for _ in range(2):
        algorithm.train()
    algorithm.save_to_path(tmp_path)
    undisturbed = next_coefficients(algorithm)
    assert len(undisturbed) == max(1, learners)
    assert all(each == undisturbed[0] for each in undisturbed)
    tau, beta, version, step = undisturbed[0][MODULE]
    assert (version, step) == (2, 2)
    assert tau != 0.01 and beta != 0.2
    assert in_a_new_process(tmp_path) == undisturbed


def test_a_report_after_a_restore_into_a_live_algorithm_is_skipped(
    built: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    algorithm = built(control(ppo(lr=3e-3), target_entropy=0.5, target_kl=0.01))
    algorithm.train()
    algorithm.save_to_path(tmp_path)
    saved = next_coefficients(algorithm)[0][MODULE]
    for _ in range(2):
        algorithm.train()
    algorithm.restore_from_path(tmp_path)
    assert next_coefficients(algorithm)[0][MODULE] == saved
    with caplog.at_level(logging.WARNING):
        skipped = metrics_of(algorithm.train())
    assert "restored into a live algorithm" in caplog.text
    assert skipped["maxent_skipped_reports"] == 1
    assert math.isnan(skipped["maxent_kl"])
    after = metrics_of(algorithm.train())
    assert [after["maxent_tau"], after["maxent_beta"]] == saved[:2]  # nothing was decided on the skipped report
    assert after["maxent_kl"] > 0
    assert after["maxent_skipped_reports"] == 1


def test_copies_of_a_checkpoint_have_controllers_of_their_own(built: Any, tmp_path: Path) -> None:
    config = control(ppo(), target_kl=0.01, run_id="shared")
    first, second = built(config.copy(copy_frozen=False)), built(config)
    first.save_to_path(tmp_path)
    second.restore_from_path(tmp_path)
    clients = [each.learner_group._learner._controls[MODULE].client for each in (first, second)]
    assert len({client.run_id for client in clients}) == 2
    assert all(client.run_id.startswith("shared-") and client.tags.run == "shared" for client in clients)
    assert clients[0].tags.trial != clients[1].tags.trial


def test_a_checkpoint_without_controllers_is_restored_without_them(built: Any) -> None:
    algorithm = built(control(ppo(), target_kl=0.01))
    learner = algorithm.learner_group._learner
    state = learner.get_state()
    del state["maxent_ray"]
    algorithm.train()
    before = next_coefficients(algorithm)
    learner.set_state(state)
    assert next_coefficients(algorithm) == before


def test_weights_are_asked_for_without_the_controllers_state(built: Any) -> None:
    learner = built(control(ppo(), target_kl=0.01)).learner_group._learner
    assert "maxent_ray" in learner.get_state()
    assert "maxent_ray" not in learner.get_state(components=COMPONENT_RL_MODULE)
    assert "maxent_ray" not in learner.get_state(not_components="maxent_ray")
