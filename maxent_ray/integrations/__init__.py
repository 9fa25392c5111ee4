"""Trainers of others, driven by the controller. Names load on first use: TRL is needed for TRL's only."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maxent_ray.integrations.target_kl import TargetKLController
    from maxent_ray.integrations.trl import MaxEntCallback, MaxEntGRPOTrainer

_MODULES = {
    "MaxEntCallback": "maxent_ray.integrations.trl",
    "MaxEntGRPOTrainer": "maxent_ray.integrations.trl",
    "TargetKLController": "maxent_ray.integrations.target_kl",
}
__all__ = ["MaxEntCallback", "MaxEntGRPOTrainer", "TargetKLController"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'maxent_ray.integrations' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_MODULES[name]), name)
