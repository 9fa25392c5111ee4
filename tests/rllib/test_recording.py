"""Runs of RLlib leave the records that the page and the report read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from maxent_ray.config import RLlibConfig, load_recorded
from maxent_ray.errors import ResumeError
from maxent_ray.report.run_records import read_run
from maxent_ray.rllib import control, record
from maxent_ray.rllib.result_rows import result_rows
from tests.rllib.test_multi_agent import two_agents
from tests.rllib.tiny import MODULE, SMALL, metrics_of, ppo

pytestmark = pytest.mark.ray


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_rows_are_what_the_learner_measured(tmp_path: Path, built: Any) -> None:
    folder = tmp_path / "mine"
    algorithm = built(control(ppo(), target_kl=0.01, target_entropy=0.5, results=folder))
    results = [algorithm.train() for _ in range(3)]
    for step, (row, result) in enumerate(zip(lines(folder, "rows.jsonl"), results, strict=True)):
        metrics = metrics_of(result)
        assert (row["trial"], row["objective"], row["step"], row["rank"]) == ("mine", "analytic", step, 0)
        for signal in ("tau", "beta", "entropy", "kl", "target_entropy", "target_kl"):
            assert row[signal] == metrics[f"maxent_{signal}"]
        assert row["episode_return"] == float(result["env_runners"]["episode_return_mean"])
        assert row["seconds"] > 0 and row["reward"] is None
    config = load_recorded(folder / "config.yaml")
    assert isinstance(config, RLlibConfig) and config.rllib.environment == "CartPole-v1"
    assert (config.controller["target_kl"], config.rllib.settings["minibatch_size"]) == (0.01, 32)


def test_decisions_stand_at_the_iteration_whose_update_they_follow(tmp_path: Path, built: Any) -> None:
    folder = tmp_path / "mine"
    algorithm = built(control(ppo(), target_kl=0.01, results=folder))
    for _ in range(4):
        algorithm.train()
    decisions, rows = lines(folder, "decisions.jsonl"), lines(folder, "rows.jsonl")
    assert [(each["step"], each["update"], each["version"]) for each in decisions] == [(0, 0, 1), (1, 1, 2), (2, 2, 3)]
    for decision in decisions:  # measured there, and applied in the next iteration
        assert decision["kl"] == rows[decision["step"]]["kl"]
        assert decision["beta"] == rows[decision["step"] + 1]["beta"]
    assert rows[3]["reason"] == decisions[2]["reason"]


def test_a_restored_algorithm_continues_and_a_new_one_is_refused(tmp_path: Path, built: Any) -> None:
    folder, checkpoint = tmp_path / "mine", str(tmp_path / "checkpoint")
    config = control(ppo(), target_kl=0.01, results=folder)
    first = built(config)
    first.train()
    first.save_to_path(checkpoint)
    first.train()
    restored = PPO.from_checkpoint(checkpoint)
    try:
        restored.train()
        assert [row["step"] for row in lines(folder, "rows.jsonl")] == [0, 1, 1]
        assert [each["step"] for each in lines(folder, "decisions.jsonl")] == [0, 0]
        assert [point.step for point in read_run(folder).points["mine"]] == [1, 2]
        with pytest.raises(ResumeError, match="newer algorithm"):
            first.train()
    finally:
        restored.stop()
    with pytest.raises(ResumeError, match="a new algorithm does not continue"):
        built(config.copy(copy_frozen=False)).train()
    assert len(lines(folder, "rows.jsonl")) == 3


def test_an_algorithm_without_a_controller_is_recorded_as_rllibs_rule(tmp_path: Path, built: Any) -> None:
    folder = tmp_path / "plain"
    result = built(record(ppo(), folder)).train()
    (row,) = lines(folder, "rows.jsonl")
    learner = result["learners"][MODULE]
    assert (row["objective"], row["target_kl"], row["target_entropy"]) == ("rllib", 0.01, None)
    assert (row["kl"], row["beta"]) == (float(learner["mean_kl_loss"]), float(learner["curr_kl_coeff"]))
    assert not (folder / "decisions.jsonl").exists()


class Own(RLlibCallback):
    """A callback of the user's."""


def test_callbacks_of_the_users_own_stay_and_recording_twice_is_recording_once(tmp_path: Path) -> None:
    config = ppo().callbacks(callbacks_class=Own)
    record(record(config, tmp_path / "a"), tmp_path / "b")
    assert [each.__name__ for each in config.callbacks_class] == ["Own", "RecordRun"]


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(ResumeError, match=r"holds no run .* choose another folder"):
        record(ppo(), tmp_path / "notes").build_algo()
    assert list((tmp_path / "notes").iterdir()) == []


def test_modules_that_are_trained_together_are_recorded_each_by_itself(tmp_path: Path, built: Any) -> None:
    folder = tmp_path / "two"
    algorithm = built(control(two_agents(), target_entropy=0.5, modules={"p1": {"target_kl": 0.02}}, results=folder))
    results = [algorithm.train() for _ in range(2)]
    rows = lines(folder, "rows.jsonl")
    assert [(row["trial"], row["step"]) for row in rows] == [(f"two/p{p}", step) for step in (0, 1) for p in (0, 1)]
    for row in rows:
        result = results[row["step"]]
        module = row["trial"].removeprefix("two/")
        assert row["tau"] == metrics_of(result, module)["maxent_tau"]
        assert row["episode_return"] == float(result["env_runners"]["module_episode_returns_mean"][module])
    assert [row["target_kl"] for row in rows] == [None, 0.02] * 2
    assert {row["entropy_scale"] for row in rows} == {0.5}
    assert {each["trial"] for each in lines(folder, "decisions.jsonl")} == {"two/p0", "two/p1"}
    assert {each["trial"] for each in lines(folder, "trials.jsonl")} == {"two/p0", "two/p1"}


def test_a_module_that_is_added_later_is_left_out_and_training_goes_on(
    tmp_path: Path, built: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "two"
    algorithm = built(control(two_agents(), target_entropy=0.5, results=folder))
    spec = RLModuleSpec.from_module(algorithm.learner_group._learner.module["p0"])
    spec.model_config = SMALL
    algorithm.add_module("p2", spec, new_agent_to_module_mapping_fn=lambda agent, *_, **__: f"p{2 * agent}")
    for _ in range(2):
        algorithm.train()
    assert {row["trial"] for row in lines(folder, "rows.jsonl")} == {"two/p0", "two/p1"}
    assert "module(s) ['p2'] were added later, and are not recorded" in caplog.text


def test_modules_have_rows_of_their_own() -> None:
    result = {
        "learners": {"left": {"maxent_tau": np.float64(0.1)}, "right": {"curr_entropy_coeff": 0.2}},
        "env_runners": {"episode_return_mean": 3.0, "module_episode_returns_mean": {"left": np.float32(1.0)}},
    }
    objectives = {"left": "analytic", "right": "rllib"}
    left, right = result_rows(result, step=4, trial="a", segment=1, objectives=objectives, kl_target=0.3)
    assert (left["trial"], left["tau"], left["episode_return"], left["target_kl"]) == ("a/left", 0.1, 1.0, None)
    assert (right["trial"], right["tau"], right["episode_return"], right["target_kl"]) == ("a/right", 0.2, None, 0.3)
    json.dumps([left, right])
