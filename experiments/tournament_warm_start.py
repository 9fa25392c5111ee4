"""The policy before any training, measured as the tournament's arms are: on the same prompts, in several draws."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import track
from tournament_arms import Arm, held_out_values
from tournament_report import Result

from maxent_ray.config.loading import load_config
from maxent_ray.storage.atomic import write_atomic
from maxent_ray.train.policy_evaluation import evaluate_policy

ARM = Arm("", "warm start", "The policy before reinforcement.", ())


def warm_start(path: Path, task: str, prompts: int, seeds: Sequence[int]) -> Result:
    """Read the draws of answers that a file has, or make and keep them; each takes a few seconds.

    Args:
        path: Of the JSON file.
        task: Whose shipped policy is measured.
        prompts: Number of held-out prompts, as in the arms' runs.
        seeds: Of the draws, one for each seed of the arms: what one draw of 8 answers to a prompt finds is chance too.
    """
    measured = [f"task.name={task}", f"task.held_out_prompts={prompts}", f"evaluation.prompts={prompts}"]
    wanted = {f"{seed}": [*measured, f"evaluation.seed={seed}"] for seed in seeds}
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    missing = [seed for seed in wanted if known.get(seed, {}).get("overrides") != wanted[seed]]
    for seed in track(missing, "warm start", disable=not missing):
        config = load_config(overrides=[*wanted[seed], "train.use_gpu=false"])
        metrics = evaluate_policy(config).metrics
        known[seed] = {"overrides": wanted[seed], "held_out": held_out_values(metrics.to_dict())}
        write_atomic(path, json.dumps(known).encode())
    return Result(ARM, {seed: known[f"{seed}"] for seed in seeds})
