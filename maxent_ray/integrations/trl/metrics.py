"""Coefficients, errors and reasons as metrics of TRL, which passes them to its log and to every tracker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trl import GRPOTrainer

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.state import Coefficients

PREFIX = "maxent/"


def log_decision(
    trainer: GRPOTrainer,
    config: ControllerConfig,
    used: Coefficients,
    decision: Mapping[str, Any],
    counts: Mapping[str, int],
) -> None:
    """Add one step to TRL's metrics. TRL logs means over the steps since its last log; counts are the newest.

    Args:
        trainer: Whose metrics.
        config: Has the scale of the entropy's error.
        used: Coefficients that the step trained with.
        decision: The controller's, on this step.
        counts: Of rounds by reason, and of the like, since the run began.
    """
    metrics = trainer._metrics["train"]
    measured = {name: decision[name] for name in ("entropy", "kl", "target_entropy", "target_kl")}
    values = {"tau": used.tau, "beta": used.beta, **measured, **relative_errors(config, decision)}
    for name, value in values.items():
        if value is not None:
            metrics[PREFIX + name].append(value)
    for name, count in counts.items():
        metrics[PREFIX + name] = [count]


def relative_errors(config: ControllerConfig, decision: Mapping[str, Any]) -> dict[str, float]:
    """(H − H*)/scale and (KL − KL*)/KL*, of the targets that there are and were measured."""
    errors = {}
    if decision["target_entropy"] is not None and decision["entropy"] is not None:
        error = decision["entropy"] - decision["target_entropy"]
        errors["entropy_error"] = error / config.entropy_scale_at(decision["step"])
    if decision["target_kl"] is not None and decision["kl"] is not None:
        errors["kl_error"] = decision["kl"] / decision["target_kl"] - 1
    return errors
