"""maxent_ray: a Ray-native meta-controller that keeps entropy and KL of a policy on target while it trains.

Names load on first use, so that ``import maxent_ray`` and ``maxent_ray.core`` need neither Ray nor transformers.

Example:
    >>> from maxent_ray import Controller, ControllerConfig
    >>> Controller(ControllerConfig(group_size=8, target_entropy=1.9, target_kl=0.05)).init().version
    0
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maxent_ray.config import ExperimentConfig, GRPOConfig, WeightingSettings
    from maxent_ray.config.loading import load_config
    from maxent_ray.core.config import ControllerConfig
    from maxent_ray.core.controller import Controller
    from maxent_ray.core.objectives import (
        AnalyticControllerObjective,
        ControllerGradients,
        ControllerMetaContext,
        ControllerObjective,
        TruncatedBackpropControllerObjective,
        build_controller_objective,
    )
    from maxent_ray.core.state import Coefficients, ControllerState, Decision, Reason
    from maxent_ray.core.statistics import BatchStatistics
    from maxent_ray.errors import MaxentRayError
    from maxent_ray.runtime.client import ControllerClient
    from maxent_ray.runtime.connect import connect

__version__ = "0.1.0"

_HOMES = {
    "AnalyticControllerObjective": "core.objectives",
    "BatchStatistics": "core.statistics",
    "Coefficients": "core.state",
    "Controller": "core.controller",
    "ControllerClient": "runtime.client",
    "ControllerConfig": "core.config",
    "ControllerGradients": "core.objectives",
    "ControllerMetaContext": "core.objectives",
    "ControllerObjective": "core.objectives",
    "ControllerState": "core.state",
    "Decision": "core.state",
    "ExperimentConfig": "config",
    "GRPOConfig": "config",
    "MaxentRayError": "errors",
    "Reason": "core.state",
    "TruncatedBackpropControllerObjective": "core.objectives",
    "WeightingSettings": "config",
    "build_controller_objective": "core.objectives",
    "connect": "runtime.connect",
    "load_config": "config",
}

__all__ = [
    "AnalyticControllerObjective",
    "BatchStatistics",
    "Coefficients",
    "Controller",
    "ControllerClient",
    "ControllerConfig",
    "ControllerGradients",
    "ControllerMetaContext",
    "ControllerObjective",
    "ControllerState",
    "Decision",
    "ExperimentConfig",
    "GRPOConfig",
    "MaxentRayError",
    "Reason",
    "TruncatedBackpropControllerObjective",
    "WeightingSettings",
    "build_controller_objective",
    "connect",
    "load_config",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'maxent_ray' has no attribute {name!r}; it exports {', '.join(__all__)}")
    return getattr(import_module(f"maxent_ray.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
