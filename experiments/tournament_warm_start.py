"""The policy before any training, as the tournament's arms are measured: on the same prompts, in several draws."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.progress import track
from tournament_arms import Arm, held_out_values
from tournament_report import Result

from maxent_ray.config.loading import load_config
from maxent_ray.train.policy_evaluation import evaluate_policy

ARM = Arm("", "warm start", "The policy before reinforcement.", ())


def warm_start(path: Path, settings: list[str], seeds: Iterable[int]) -> Result:
    """Read the draws of answers that a file has, or make and keep them; each takes a few seconds.

    Args:
        path: Of the JSON file.
        settings: What every run has, as ``section.key=value``.
        seeds: Of the draws, one for each seed of the arms: what one draw of 8 answers to a prompt finds is chance too.
    """
    wanted = {f"{seed}": [*settings, f"evaluation.seed={seed}"] for seed in sorted(seeds)}
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if missing := [seed for seed in wanted if known.get(seed, {}).get("overrides") != wanted[seed]]:
        for seed in track(missing, "warm start"):
            metrics = evaluate_policy(load_config(overrides=wanted[seed])).metrics
            known[seed] = {"overrides": wanted[seed], "held_out": held_out_values(metrics.to_dict())}
        path.write_text(json.dumps(known), encoding="utf-8")
    return Result(ARM, {int(seed): known[seed] for seed in wanted})
