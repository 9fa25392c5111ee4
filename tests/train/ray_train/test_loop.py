"""Runs on Ray Train: an uninterrupted run is the oracle for one whose workers die and that is resumed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import ray.train
import torch

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import apply_overrides, load_config
from maxent_ray.errors import MaxentRayError, PolicyLoadError, RecordingError, ResourceError, ResumeError
from maxent_ray.evaluation.held_out import HeldOutMetrics
from maxent_ray.policy import load_policy
from maxent_ray.storage.json_lines import read_lines
from maxent_ray.storage.run_files import read_rows, read_samples
from maxent_ray.train.policy_evaluation import evaluate_policy
from maxent_ray.train.rank import RankProcess
from maxent_ray.train.ray_train import loop
from maxent_ray.train.ray_train.loop import TrainingResult, run_training
from maxent_ray.train.ray_train.rank_loop import train_rank
from maxent_ray.train.ray_train.train_job import TrainJob
from tests.train.ray_train.faults import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]  # each restart takes a while

SMOKE = Path(__file__).parents[3] / "experiments" / "configs" / "smoke.yaml"
RANKS, STEPS, CHECKPOINT = 2, 8, 6
Rows = dict[tuple[int, int], dict[str, Any]]


class Listener:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.steps = 0
        self.states: list[str] = []

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None:
        assert (trial, objective, clones) == ("whole", "analytic", 0)

    def state(self, trial: str, state: str) -> None:
        self.states.append(state)

    def advance(self, steps: int) -> None:
        self.steps += steps


@pytest.fixture(scope="module")
def config() -> ExperimentConfig:
    """Rows come after steps 5, 6 and 8, the only checkpoints after 6 and 8."""
    overrides = {
        "train.num_workers": RANKS,
        "train.steps": STEPS,
        "train.checkpoint_every": CHECKPOINT,
        "train.max_failures": 2,
        "train.use_gpu": False,
    }
    return apply_overrides(load_config(SMOKE), overrides)


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def whole(
    ray_cluster: None, config: ExperimentConfig, listener: Listener, tmp_path_factory: pytest.TempPathFactory
) -> TrainingResult:
    """The uninterrupted run."""
    results = tmp_path_factory.mktemp("results")
    return run_training(config, name="whole", results=results, listeners=[listener])


def rows_of(run: TrainingResult) -> Rows:
    """Rows by place, without what a restart may change: times, and which decision a rank has heard of last."""
    return {
        (row["step"], row["rank"]): {
            key: value for key, value in row.items() if not key.startswith("seconds") and key not in ("reason", "trial")
        }
        for row in read_rows(run.folder / "rows.jsonl")
    }


def test_every_step_of_every_rank_is_recorded_once(whole: TrainingResult) -> None:
    assert sorted(rows_of(whole)) == [(step, rank) for step in range(STEPS) for rank in range(RANKS)]
    assert len(read_lines(whole.folder / "rows.jsonl")[0]) == STEPS * RANKS


def test_ranks_train_every_step_with_identical_coefficients(whole: TrainingResult) -> None:
    rows = rows_of(whole)
    for step in range(STEPS):
        assert len({(rows[step, rank]["tau"], rows[step, rank]["beta"]) for rank in range(RANKS)}) == 1
    assert len({rows[step, 0]["tau"] for step in range(STEPS)}) > STEPS // 2  # the controller did move


def test_ranks_sample_different_prompts(whole: TrainingResult) -> None:
    rows = rows_of(whole)
    assert any(rows[step, 0]["loss"] != rows[step, 1]["loss"] for step in range(STEPS))
    assert all(rows[step, 0]["entropy"] == rows[step, 1]["entropy"] for step in range(STEPS))  # of all ranks together


def test_all_decisions_are_recorded(whole: TrainingResult) -> None:
    decisions = read_lines(whole.folder / "decisions.jsonl")[0]
    assert [decision["version"] for decision in decisions] == list(range(1, STEPS + 1))
    assert {decision["trial"] for decision in decisions} == {"whole"}


def test_listeners_hear_of_every_step(whole: TrainingResult, listener: Listener) -> None:
    assert listener.steps == STEPS
    assert listener.states == ["done"]


def test_the_saved_policy_scores_what_the_run_measured(whole: TrainingResult, config: ExperimentConfig) -> None:
    first, last = read_lines(whole.folder / "evaluations.jsonl")[0]
    assert (first["trial"], last["trial"], last["objective"]) == ("warm_start", "whole", "analytic")
    again = evaluate_policy(apply_overrides(config, {"policy.model": str(whole.policy)}))
    assert again.metrics == HeldOutMetrics.from_dict(last["metrics"])
    lines = [line for line in read_samples(whole.folder / "samples.jsonl") if line["trial"] == "whole"]
    run = {"trial": "whole", "objective": "analytic", "step": STEPS}
    assert lines == [{**run, **sample} for sample in json.loads(json.dumps(again.to_dict()["samples"]))]
    trained = load_policy(str(whole.policy), device=torch.device("cpu")).model.state_dict()
    warm = load_policy("embedded:countdown_small", device=torch.device("cpu")).model.state_dict()
    assert any(not torch.equal(trained[name], warm[name]) for name in warm)


def dying_rank(settings: dict[str, TrainJob]) -> None:
    """The training function of a run whose rank 1 is killed twice: before the first checkpoint, and after it."""
    folder, run = settings["job"].folder, RankProcess.run

    def run_or_die(process: RankProcess, steps: int) -> Any:
        place = process.worker.next_step
        marker = folder / f"killed-at-{place}"
        if process.worker.placement.rank == 1 and place in (5, CHECKPOINT) and not marker.exists():
            marker.touch()
            heard = folder / ("rows.jsonl" if place < CHECKPOINT else "train/checkpoint_manager_snapshot.json")
            wait_until(heard.exists, "Ray Train's word that it has heard of the last report")
            os.kill(os.getpid(), signal.SIGKILL)
        return run(process, steps)

    RankProcess.run = run_or_die  # type: ignore[method-assign]  # in the worker's own process
    train_rank(settings)


@pytest.fixture(scope="module")
def survivor(
    whole: TrainingResult, config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory
) -> TrainingResult:
    """A run that was killed twice, ended early, and was resumed for one more step under another name of its folder."""
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_rank", dying_rank)
        run_training(apply_overrides(config, {"train.steps": STEPS - 1}), name="survivor", results=results)
    (results / "survivor").rename(results / "renamed")
    return run_training(config, name="renamed", results=results, resume=True)


@pytest.mark.slow
def test_a_killed_rank_starts_again_from_the_last_checkpoint(survivor: TrainingResult) -> None:
    assert len(list(survivor.folder.glob("killed-at-*"))) == 2
    recorded = [(row["step"], row["rank"]) for row in read_lines(survivor.folder / "rows.jsonl")[0]]
    assert recorded.count((0, 0)) == 2  # the first death came before a checkpoint: all was trained again
    assert recorded.count((CHECKPOINT - 1, 0)) == 1  # the second one came after it


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(whole: TrainingResult, survivor: TrainingResult) -> None:
    assert rows_of(survivor) == rows_of(whole)
    runs = [read_lines(run.folder / "evaluations.jsonl")[0][-1]["metrics"] for run in (survivor, whole)]
    assert runs[0] == runs[1]


@pytest.mark.slow
def test_a_renamed_folder_holds_the_same_run(survivor: TrainingResult) -> None:
    assert (survivor.folder.name, survivor.name) == ("renamed", "survivor")
    for name, trials in {
        "rows.jsonl": {"survivor"},
        "decisions.jsonl": {"survivor"},
        "evaluations.jsonl": {"warm_start", "survivor"},
        "samples.jsonl": {"warm_start", "survivor"},
    }.items():
        assert {line["trial"] for line in read_lines(survivor.folder / name)[0]} == trials


class Mover(Listener):
    """Renames the run's folder at its first row."""

    def __init__(self, old: Path, new: Path) -> None:
        super().__init__()
        self._old, self._new = old, new

    def update(self, trial: str, objective: str, row: Mapping[str, Any], clones: int) -> None:
        self._old.rename(self._new)


@pytest.mark.slow
def test_renamed_during_the_run_it_stops_and_begins_no_second_folder(
    ray_cluster: None, config: ExperimentConfig, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    long = apply_overrides(config, {"train.steps": 200, "train.num_workers": 1, "train.max_failures": 0})
    with pytest.raises(RecordingError, match=rf"{old} is no longer this run's folder.*continue where .* --resume"):
        run_training(long, name="old", results=tmp_path, listeners=[Mover(old, new)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]
    recorded = len(read_rows(new / "rows.jsonl"))
    short = apply_overrides(long, {"train.steps": recorded + 1})
    assert run_training(short, name="new", results=tmp_path, resume=True).name == "old"
    assert [row["step"] for row in read_rows(new / "rows.jsonl")] == list(range(recorded + 1))


def rank_without_a_model(settings: dict[str, TrainJob]) -> None:
    """The training function of a run whose model is gone when the ranks load it."""
    raise PolicyLoadError("model='./mine': there is no folder 'mine';\n  give one that exists")


def rank_that_breaks(settings: dict[str, TrainJob]) -> None:
    """One whose user's own code raises, after a checkpoint."""
    folder = settings["job"].folder / "train" / "checkpoint_00000002"
    folder.mkdir(parents=True, exist_ok=True)
    raise KeyError("reward")


def rank_that_dies(settings: dict[str, TrainJob]) -> None:
    ray.train.report({})  # Ray Train does not give back the place of a rank that dies while it starts
    os.kill(os.getpid(), signal.SIGKILL)


def failed_run(rank: Any, config: ExperimentConfig, results: Path) -> MaxentRayError:
    once = apply_overrides(config, {"train.max_failures": 0, "train.num_workers": 1})
    with pytest.MonkeyPatch.context() as patch, pytest.raises(MaxentRayError) as raised:
        patch.setattr(loop, "train_rank", rank)
        run_training(once, name="broken", results=results)
    return raised.value


def test_what_every_resume_meets_again_is_said_first_and_without_advice_to_resume(
    ray_cluster: None, config: ExperimentConfig, tmp_path: Path
) -> None:
    error = failed_run(rank_without_a_model, config, tmp_path)
    assert type(error) is PolicyLoadError
    assert str(error) == "model='./mine': there is no folder 'mine';\n  give one that exists (rank 0)"
    assert not (tmp_path / "broken" / "error.txt").exists()


def test_other_failures_say_how_to_go_on(ray_cluster: None, config: ExperimentConfig, tmp_path: Path) -> None:
    advice = f"Once its cause is gone, --resume {tmp_path / 'broken'} continues from the last checkpoint"
    trace = tmp_path / "broken" / "error.txt"
    said = str(failed_run(rank_that_breaks, config, tmp_path))
    assert said == f"KeyError: 'reward' (rank 0; its trace is in {trace}). {advice}"
    assert "in rank_that_breaks" in trace.read_text()


def test_a_rank_that_dies_is_said_to_have_died(ray_cluster: None, config: ExperimentConfig, tmp_path: Path) -> None:
    said = str(failed_run(rank_that_dies, config, tmp_path))
    assert "died" in said.partition("(rank 0;")[0]
    assert said.endswith(f"--resume {tmp_path / 'broken'} starts again from the beginning")


def test_a_folder_is_not_overwritten(whole: TrainingResult, config: ExperimentConfig) -> None:
    with pytest.raises(ResumeError, match="exists"):
        run_training(config, name="whole", results=whole.folder.parent)


def test_a_run_goes_on_only_with_its_own_settings(whole: TrainingResult, config: ExperimentConfig) -> None:
    other = apply_overrides(config, {"controller.target_kl": 0.1})
    with pytest.raises(ResumeError, match=r"controller\.target_kl was 0\.2, now 0\.1"):
        run_training(other, name="whole", results=whole.folder.parent, resume=True)


def test_too_many_workers_are_refused_before_anything_starts(
    ray_cluster: None, config: ExperimentConfig, tmp_path: Path
) -> None:
    wide = apply_overrides(config, {"train.num_workers": 4, "train.cpus_per_worker": 100})
    with pytest.raises(ResourceError, match=r"400 CPUs; the cluster has 4\."):
        run_training(wide, name="wide", results=tmp_path)
    assert not (tmp_path / "wide").exists()
