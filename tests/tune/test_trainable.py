from __future__ import annotations

import math
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from maxent_ray.config import TuneSettings
from maxent_ray.config.loading import load_config
from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.errors import RecordingError, ResumeError
from maxent_ray.runtime.run_tags import RunTags
from maxent_ray.tune.trainable import PROGRESS, STATE, PopulationTrial, next_report, worker_bundles
from maxent_ray.tune.trial_spec import TrialSpec, settings_json
from tests.tune.toy import ToyTrial

SETTINGS = settings_json(
    load_config(overrides=["train.steps=10", "tune.steps_per_report=2", "tune.perturbation_interval=5"])
)


def config(name: str = "analytic-0", kl_target: float = 0.05, **fields: Any) -> dict[str, Any]:
    return TrialSpec(name, "analytic", SETTINGS, {"controller.target_kl": kl_target}, **fields).to_config()


def trial(values: dict[str, Any]) -> ToyTrial:
    """A trial without Tune around it."""
    made = ToyTrial.__new__(ToyTrial)
    made._storage = None
    made.setup(values)
    return made


def test_every_metric_can_be_the_score() -> None:
    assert set(get_args(TuneSettings.model_fields["metric"].annotation)) == set(METRICS)


def test_reports_fall_on_every_boundary_and_the_end() -> None:
    settings = TuneSettings(steps_per_report=4, perturbation_interval=10)
    steps, reports = 0, []
    while steps < 27:
        steps = next_report(steps, 27, settings)
        reports.append(steps)
    assert reports == [4, 8, 10, 14, 18, 20, 24, 27]


def test_a_trial_reports_rows_under_its_name_and_ends_with_an_evaluation() -> None:
    toy = trial(config(segment=3))
    results = [toy.step() for _ in range(6)]
    assert [result["steps"] for result in results] == [2, 4, 5, 7, 9, 10]
    rows = [row for result in results for row in result["rows"]]
    assert [row["step"] for row in rows] == list(range(10))
    assert {(row["trial"], row["segment"]) for row in rows} == {("analytic-0", 3)}
    assert [result["done"] for result in results] == [False] * 5 + [True]
    assert "evaluation" in results[-1] and "evaluation" not in results[0]
    versions = [decision["version"] for result in results for decision in result["decisions"]]
    assert versions == list(range(1, 11))  # each once


def test_the_score_is_the_mean_since_the_last_boundary(tmp_path: Path) -> None:
    donor = trial(config(kl_target=0.1))
    for _ in range(2):
        donor.step()
    donor.save_checkpoint(str(tmp_path))
    restored = trial(config(kl_target=0.2))
    restored.load_checkpoint(str(tmp_path))
    result = restored.step()  # step 5, the boundary: four rows of 0.1 and one of 0.2
    assert result["steps"] == 5
    assert math.isclose(result["score"], (4 * 0.1 + 0.2) / 5)
    assert math.isclose(restored.step()["score"], 0.2)  # a new window


def test_settings_never_come_from_a_checkpoint(tmp_path: Path) -> None:
    donor = trial(config(kl_target=0.1))
    donor.step()
    donor.save_checkpoint(str(tmp_path))
    clone = trial(config("analytic-1", kl_target=0.3))
    clone.load_checkpoint(str(tmp_path))
    rows = clone.step()["rows"]
    assert {row["coverage"] for row in rows} == {0.3}
    assert [row["step"] for row in rows] == [2, 3]  # state did


def test_a_reused_trial_is_as_good_as_new() -> None:
    reused = trial(config("analytic-5", kl_target=0.4, segment=2))
    for _ in range(4):
        reused.step()
    assert reused.reset_config(config())
    fresh = trial(config())
    assert [reused.step() for _ in range(6)] == [fresh.step() for _ in range(6)]


def test_a_clone_of_another_objective_has_that_in_its_metrics_tags(tmp_path: Path) -> None:
    toy = trial(config())
    assert toy._group.tags == RunTags("analytic-0", "analytic-0", "analytic")
    toy._storage = SimpleNamespace(experiment_fs_path=str(tmp_path / "first" / "tune"))
    other = TrialSpec("analytic-0", "truncated_backprop", SETTINGS, {"controller.target_kl": 0.1}, segment=1)
    assert toy.reset_config(other.to_config())
    assert toy._group.tags == RunTags("first", "analytic-0", "truncated_backprop")


def test_the_warm_start_is_evaluated_and_not_trained() -> None:
    result = trial(TrialSpec("warm_start", "warm_start", SETTINGS, {}).to_config()).step()
    assert (result["steps"], result["rows"], result["done"]) == (0, [], True)
    assert math.isnan(result["score"])
    assert result["evaluation"]["metrics"]["steps"] == 0


def test_a_checkpoint_that_found_no_room_is_not_taken_for_one(tmp_path: Path) -> None:
    toy = trial(config())
    toy.step()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))  # Python ignores the signal that goes with it
    try:
        with pytest.raises(RecordingError, match=r"cannot write .*state\.safetensors: File too large"):
            toy.save_checkpoint(str(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [STATE, PROGRESS])
def test_a_damaged_checkpoint_is_refused_and_nothing_of_it_is_loaded(name: str, tmp_path: Path) -> None:
    donor, clone = trial(config()), trial(config("analytic-1"))
    donor.step()
    donor.save_checkpoint(str(tmp_path))
    file = tmp_path / name
    file.write_bytes(file.read_bytes().replace(b'"ste', b'"stp', 1) if name == PROGRESS else file.read_bytes()[:-1])
    with pytest.raises(ResumeError, match=rf"{name} is damaged.* copy the files of an earlier checkpoint in"):
        clone.load_checkpoint(str(tmp_path))
    assert clone.step()["rows"] == trial(config("analytic-1")).step()["rows"]
    (tmp_path / name).unlink()
    with pytest.raises(ResumeError, match=rf"{name} is missing"):
        clone.load_checkpoint(str(tmp_path))


def test_a_trial_asks_for_its_workers_only() -> None:
    settings = settings_json(
        load_config(overrides=["train.num_workers=2", "train.cpus_per_worker=1.5", "train.use_gpu=true"])
    )
    spec = TrialSpec("analytic-0", "analytic", settings, {})
    assert worker_bundles(spec.experiment()) == [{"CPU": 1.5, "GPU": 1.0}] * 2
    request = PopulationTrial.default_resource_request(spec.to_config())
    assert request.head_cpus == 0.0
    assert request.required_resources == {"CPU": 3.0, "GPU": 2.0}
