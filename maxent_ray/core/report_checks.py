"""Checks of what workers report against the controller's settings: unrolls that were not asked for, missing signals."""

from __future__ import annotations

from maxent_ray.core.config import ControllerConfig
from maxent_ray.core.objectives.sensitivity import Sensitivity
from maxent_ray.core.statistics import COUNTED_IN, UNITS, BatchStatistics


def misfit(config: ControllerConfig, sensitivity: Sensitivity | None) -> str:
    """Field, value and valid range of an unroll that this controller cannot have asked for; empty when it fits."""
    if sensitivity is None:
        return ""
    steps = 0 if config.unroll is None else config.unroll.steps
    fits = {
        "steps": (sensitivity.steps == steps, f"objective.unroll.steps = {steps}"),
        "tokens": (sensitivity.tokens >= 1, ">= 1"),
        **{name: _fitting(config, name, getattr(sensitivity, name)) for name in ("tau", "beta")},
    }
    wrong = ((name, valid) for name, (holds, valid) in fits.items() if not holds)
    return next((f"{name} is {getattr(sensitivity, name)}; it must be {valid}" for name, valid in wrong), "")


def _fitting(config: ControllerConfig, name: str, value: float) -> tuple[bool, str]:
    return (value > 0, "> 0") if config.moves(name) else (value >= 0, ">= 0")


def missing_signal(config: ControllerConfig, statistics: BatchStatistics) -> str:
    """Explain which signal with a target a batch was not measured for; empty for none, and for an empty batch.

    A sum of 0 over a count of 0 is no lack: a batch may have no group that was rewarded.

    Example:
        >>> config = ControllerConfig(target_entropy=1.9)
        >>> missing_signal(config, BatchStatistics(tokens=4, policy_entropy_sum=2.0)).split(";")[0]
        'statistics.weight_entropy_sum is None, but tau is to hold weight_entropy (nats per group) on target'
    """
    for name in ("tau", "beta"):
        signal = config.signal(name)
        if signal and config.moves(name) and not statistics.is_empty and getattr(statistics, f"{signal}_sum") is None:
            field = "entropy_signal" if name == "tau" else "kl_signal"
            others = " or ".join(other for other in UNITS if other.endswith(signal[-3:]) and other != signal)
            needed = f"{name} is to hold {signal} ({UNITS[signal]}) on target"
            remedy = f"report it on every rank, with {COUNTED_IN[signal]}, or set {field} to {others}"
            return f"statistics.{signal}_sum is None, but {needed}; {remedy}"
    return ""
