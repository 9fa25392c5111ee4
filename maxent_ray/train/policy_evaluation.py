"""Evaluation of a policy alone, without Ray: the same prompts, seed and code as in training runs."""

from __future__ import annotations

from pathlib import Path

import torch

from maxent_ray.config import ExperimentConfig
from maxent_ray.config.loading import apply_overrides
from maxent_ray.core.answer_metrics import METRICS
from maxent_ray.evaluation.answers import HeldOutEvaluation
from maxent_ray.evaluation.metric_intervals import Estimate, estimate_metrics
from maxent_ray.storage.checkpoint import save_json_atomic
from maxent_ray.storage.write_errors import writing
from maxent_ray.train.rank import RankProcess, RankSpec

_ALONE = {"train.num_workers": 1}


def evaluate_policy(config: ExperimentConfig) -> HeldOutEvaluation:
    """Held-out metrics and answers of ``policy.model`` under ``evaluation``.

    Args:
        config: The experiment; with ``train.use_gpu`` None a GPU is used if available.

    Raises:
        PolicyLoadError: the model or its tokenizer cannot be loaded.
        TaskError: the task is empty or too small.
    """
    use_gpu = torch.cuda.is_available() if config.train.use_gpu is None else config.train.use_gpu
    process = RankProcess()
    process.setup(
        apply_overrides(config, _ALONE),
        RankSpec("eval", rank=0, world_size=1, use_gpu=use_gpu, local=True, threads=config.train.threads_per_worker),
    )
    try:
        return process.evaluate()
    finally:
        process.close()


def write_evaluation(path: Path, config: ExperimentConfig, evaluation: HeldOutEvaluation) -> None:
    """Write the metrics and answers of an evaluation as JSON, atomically; creates the folder.

    Raises:
        RecordingError: the file cannot be written.
    """
    with writing(path.parent, "The evaluation itself is complete"):
        path.parent.mkdir(parents=True, exist_ok=True)
    estimates = estimate_metrics([evaluation.metrics])
    report = {
        "model": config.policy_model,
        "task": config.task.model_dump(),
        "evaluation": config.evaluation.model_dump(),
        **evaluation.to_dict(),
        "intervals": {metric: _interval(estimates[metric]) for metric in METRICS},
    }
    save_json_atomic(path, report)


def _interval(estimate: Estimate) -> list[float | None] | None:
    return None if estimate.value is None else [estimate.low, estimate.high]
