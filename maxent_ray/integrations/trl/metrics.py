"""Coefficients, errors and reasons as metrics of TRL, which passes them to its log and to every tracker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trl import GRPOTrainer

from maxent_ray.core.decision import tracking_values
from maxent_ray.core.state import Coefficients

PREFIX = "maxent/"


def log_decision(
    trainer: GRPOTrainer, used: Coefficients, decision: Mapping[str, Any], counts: Mapping[str, int]
) -> None:
    """Add one step to TRL's metrics. TRL logs means over the steps since its last log; counts are the newest.

    Args:
        trainer: Whose metrics.
        used: Coefficients that the step trained with.
        decision: The controller's, on this step.
        counts: Of rounds by reason, and of the like, since the run began.
    """
    metrics = trainer._metrics["train"]
    values = tracking_values(
        used,
        entropy=decision["entropy"],
        target_entropy=decision["target_entropy"],
        entropy_scale=decision["entropy_scale"],
        kl=decision["kl"],
        target_kl=decision["target_kl"],
    )
    for name, value in values.items():
        if value is not None:
            metrics[PREFIX + name].append(value)
    for name, count in counts.items():
        metrics[PREFIX + name] = [count]
