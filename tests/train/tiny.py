"""The smallest experiment that is still one: 4 prompts × 4 completions of the embedded policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import build_config, with_overrides
from maxent_ray.train.rank import RankProcess, RankSpec
from maxent_ray.train.step_record import StepRecord

SETTINGS: dict[str, Any] = {
    "task": {"name": "countdown_small", "held_out_prompts": 8},
    "grpo": {"group_size": 4, "prompts_per_step": 4, "max_new_tokens": 8},
    "evaluation": {"prompts": 6, "samples": 2},
}


def tiny_config(overrides: dict[str, Any] | None = None) -> ExperimentConfig:
    return build_config(with_overrides(SETTINGS, overrides or {}))


def start(config: ExperimentConfig) -> RankProcess:
    """A rank with its controller in this process."""
    process = RankProcess()
    process.setup(config, RankSpec("tiny", rank=0, world_size=1, use_gpu=False, local=True))
    return process


def trained(rows: Sequence[StepRecord]) -> list[dict[str, Any]]:
    """Rows without what a clock says, and without the newest reason, which a fresh process has not heard yet."""
    records = ({"step": row.step, "rank": row.rank, "objective": row.objective, **row.signals} for row in rows)
    return [{k: v for k, v in each.items() if not k.startswith("seconds") and k != "reason"} for each in records]
