"""Evaluation of a policy alone, without Ray: the same prompts, seed and code as in training runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from maxent_ray.config import ExperimentConfig
from maxent_ray.config_loading import apply_overrides
from maxent_ray.runtime.checkpoint import save_json_atomic
from maxent_ray.train.evaluation import HeldOutMetrics
from maxent_ray.train.intervals import Interval, bootstrap_interval
from maxent_ray.train.rank import RankProcess, RankSpec

_ALONE = {"train.num_workers": 1, "runtime.reduction": "actor"}


def evaluate_policy(config: ExperimentConfig) -> HeldOutMetrics:
    """Held-out metrics of ``policy.model`` under ``evaluation``.

    Args:
        config: Of the experiment; ``train.use_gpu`` None takes a GPU where there is one.

    Raises:
        PolicyLoadError: the model or its tokenizer cannot be loaded.
        TaskError: the task is empty or too small.
    """
    use_gpu = torch.cuda.is_available() if config.train.use_gpu is None else config.train.use_gpu
    process = RankProcess()
    process.setup(
        apply_overrides(config, _ALONE),
        RankSpec(run_id="eval", rank=0, world_size=1, use_gpu=use_gpu, local=True),
    )
    try:
        return process.evaluate()
    finally:
        process.close()


@dataclass(frozen=True)
class Measured:
    """A held-out metric with its 95 % bootstrap interval over prompts; None where the task cannot tell."""

    value: float | None
    interval: Interval | None


def measured(metrics: HeldOutMetrics) -> dict[str, Measured]:
    """The four metrics by name: mean, pass_rate, distinct and coverage.

    Example:
        >>> from maxent_ray.train.evaluation import PerPrompt
        >>> nan = float("nan")
        >>> prompts = PerPrompt(mean=(0.5, 0.5), pass_rate=(1, 1), distinct=(2, 2), coverage=(nan, nan))
        >>> measured(HeldOutMetrics.of(prompts, samples=4))["mean"]
        Measured(value=0.5, interval=Interval(low=0.5, high=0.5))
        >>> measured(HeldOutMetrics.of(prompts, samples=4))["coverage"]
        Measured(value=None, interval=None)
    """
    prompts = metrics.per_prompt
    values = {
        "mean": (metrics.mean, prompts.mean),
        "pass_rate": (metrics.pass_rate, prompts.pass_rate),
        "distinct": (metrics.distinct, prompts.distinct),
        "coverage": (metrics.coverage, prompts.coverage),
    }
    return {
        name: Measured(value, bootstrap_interval(each)) if math.isfinite(value) else Measured(None, None)
        for name, (value, each) in values.items()
    }


def write_metrics(path: Path, config: ExperimentConfig, metrics: HeldOutMetrics) -> None:
    """Write the figures of an evaluation as JSON, whole or not at all; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "model": config.policy.model,
        "task": config.task.model_dump(),
        "evaluation": config.evaluation.model_dump(),
        "metrics": metrics.to_dict(),
        "intervals": {name: each.interval and list(each.interval) for name, each in measured(metrics).items()},
    }
    save_json_atomic(path, report)
