"""A run on Ray Train whose parameters are divided among its workers, and goes on with whole ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from maxent_ray.config.loading import apply_overrides, load_config
from maxent_ray.evaluation.held_out import HeldOutMetrics
from maxent_ray.storage.json_lines import read_lines
from maxent_ray.storage.run_files import read_rows
from maxent_ray.train.policy_evaluation import evaluate_policy
from maxent_ray.train.ray_train.loop import run_training

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SMOKE = Path(__file__).parents[3] / "experiments" / "configs" / "smoke.yaml"


def test_a_run_with_divided_parameters_is_recorded_saved_and_resumed_with_whole_ones(
    ray_cluster: None, tmp_path: Path
) -> None:
    divided = {"train.num_workers": 2, "train.fully_shard": True, "train.use_gpu": False, "train.max_failures": 0}
    config = apply_overrides(load_config(SMOKE), {**divided, "train.steps": 2})
    run = run_training(config, name="divided", results=tmp_path)
    evaluations = read_lines(run.folder / "evaluations.jsonl")[0]
    assert [line["trial"] for line in evaluations] == ["warm_start", "divided"]
    again = evaluate_policy(apply_overrides(config, {"policy.model": str(run.policy)}))
    assert again.metrics == HeldOutMetrics.from_dict(evaluations[-1]["metrics"])

    alone = {"train.num_workers": 1, "train.fully_shard": False, "train.steps": 3}
    run_training(apply_overrides(config, alone), name="divided", results=tmp_path, resume=True)
    places = [(row["step"], row["rank"]) for row in read_rows(run.folder / "rows.jsonl")]
    assert sorted(places) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
